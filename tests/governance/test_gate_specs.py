"""Gate profiles: every mistake is an error when the file is read, in words that lead to it."""

import pytest

from quant_engine.core.errors import ConfigError
from quant_engine.core.specs import SpecCatalog
from quant_engine.governance.gate_specs import load_profile, weaknesses

HEAD = "schema: qe.gates/1\nname: mine\ntitle: Mine\n"
GATE = "gates:\n  - name: g\n    source: me\n    rules:\n"


@pytest.fixture
def load(tmp_path):
    """Load a profile that lies in a working folder's specs."""

    def load_text(text, name="mine"):
        path = tmp_path / "specs" / "gates" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return load_profile(SpecCatalog.default(tmp_path), name)

    return load_text


def rules(*lines, head=HEAD + "track_label: test\n"):
    return head + GATE + "".join(f"      - {line}\n" for line in lines)


def test_every_shipped_profile_is_sound(catalog):
    for name in catalog.names("gates"):
        profile = load_profile(catalog, name)
        assert all(gate.source for gate in profile.gates)


class TestMistakes:
    @pytest.mark.parametrize(
        ("rule", "words"),
        [
            ("{metric: sharp_daily, op: '>=', threshold: 1.0}", "Did you mean 'sharpe_daily'"),
            ("{metric: sharpe_daily, op: '=>', threshold: 1.0}", "'>=', '>', '<=', '<'"),
            ("{metric: sharpe_daily, op: '>=', threshold: '1.0'}", "a number in quotes is a text"),
            ("{metric: sharpe_daily, op: '>=', threshold: true}", "a number in annualised"),
            ("{metric: sharpe_daily, op: '>=', threshold: .nan}", "finite number"),
            ("{metric: sharpe_daily, op: '>='}", "a threshold or `against`"),
            ("{metric: n_trades, op: '>=', threshold: 80.5}", "a whole number"),
            ("{metric: sign_stable, op: '==', threshold: 1}", "true or false"),
            ("{metric: sign_stable, op: '>=', threshold: true}", "`==` or `!=` for a flag"),
            ("{metric: sharpe_step_raw, op: '>=', threshold: 1.0}", "Gates read sharpe_daily"),
            ("{metric: sharpe_gross, op: '>=', threshold: 1.0}", "Gates read net figures"),
            ("{metric: psr, op: '>=', threshold: 0.9, missing: pass}", "'fail', 'insufficient'"),
            ("{metric: psr, op: '>=', threshold: 0.9, missing: warn}", "never passes a hard rule"),
            ("{metric: psr, op: '>=', threshold: 0.9, severity: mild}", "'hard' or 'soft'"),
            ("{metric: psr, op: '>=', threshold: 0.9, min_obs: 0}", "greater than or equal to 1"),
            ("{metric: psr, op: '>=', against: n_trades}", "a figure in probability"),
            ("{metric: psr, op: '>=', against: psrr}", "Did you mean 'psr'"),
            ("{metric: psr, op: '>=', treshold: 0.9}", "Did you mean 'threshold'"),
            ("{metric: reject_rate, op: '<=', threshold: 0.1, severity: soft}", "risk limit"),
            ("{metric: psr, op: '>=', threshold: 0.9, scope: {regime: a, event: b}}", "one scope"),
            (
                "{metric: psr, op: '>=', threshold: 0.9, overrides: [{event: A}]}",
                "either a threshold or `skip: true`",
            ),
            (
                "{metric: psr, op: '>=', threshold: 0.9, overrides: [{event: A, threshold: yes}]}",
                "a number in probability",
            ),
        ],
    )
    def test_a_rule_is_refused(self, load, rule, words):
        with pytest.raises(ConfigError) as refused:
            load(rules(rule))
        assert words in str(refused.value)
        assert "gates/mine.yaml" in str(refused.value)

    def test_a_key_that_occurs_twice_is_refused(self, load):
        text = rules("{metric: psr, op: '>=', threshold: 0.9, threshold: 0.1}")
        with pytest.raises(ConfigError, match="key 'threshold' occurs twice"):
            load(text)

    def test_a_rule_that_occurs_twice_is_refused(self, load):
        rule = "{metric: psr, op: '>=', threshold: 0.9}"
        with pytest.raises(ConfigError, match="each name once, got psr >="):
            load(rules(rule, rule.replace("0.9", "0.8")))

    def test_a_stage_names_gates_that_exist(self, load):
        text = rules("{metric: psr, op: '>=', threshold: 0.9}")
        with pytest.raises(ConfigError, match="Known: g"):
            load(text + "stages: {qualified: [promotion]}\n")

    def test_the_name_is_that_of_the_file(self, load):
        with pytest.raises(ConfigError, match="'other', as the file"):
            load(rules("{metric: psr, op: '>=', threshold: 0.9}"), name="other")

    def test_a_circle_of_profiles_is_named(self, load):
        head = HEAD + "track_label: test\nextends: mine\n"
        with pytest.raises(ConfigError, match="mine -> mine"):
            load(rules("{metric: psr, op: '>=', threshold: 0.9}", head=head))

    def test_an_unknown_stage_is_named(self, seed):
        with pytest.raises(ConfigError, match="Did you mean 'qualified'"):
            seed.stage("qualifed")


class TestWeakerProfiles:
    PARITY = "{metric: parity_deviation_frac, op: '<=', threshold: %s}"

    def gate(self, rule, head=HEAD + "extends: seed_v1\n"):
        return head + f"gates:\n  - name: parity\n    source: me\n    rules:\n      - {rule}\n"

    def test_a_stricter_profile_needs_no_label(self, load):
        profile = load(self.gate(self.PARITY % 0.05))
        assert profile.gate("parity").rules[0].threshold == 0.05
        assert profile.gate("promotion").rules
        assert profile.stages["canary"][1] == "parity"

    @pytest.mark.parametrize(
        ("rule", "words"),
        [
            (PARITY % 0.11, "looser threshold"),
            ("{metric: parity_deviation_frac, op: '>=', threshold: 0.1}", "is gone"),
            (
                "{metric: parity_deviation_frac, op: '<=', threshold: 0.1, severity: soft}",
                "is soft",
            ),
            (
                "{metric: parity_deviation_frac, op: '<=', threshold: 0.1, missing: insufficient}",
                "says less",
            ),
            (
                "{metric: parity_deviation_frac, op: '<=', threshold: 0.1, adequacy: true}",
                "says less",
            ),
            (
                "{metric: parity_deviation_frac, op: '<=', threshold: 0.1, "
                "overrides: [{event: A, threshold: 9.0}]}",
                "compares with something else",
            ),
        ],
    )
    def test_a_weaker_profile_needs_a_label(self, load, rule, words):
        with pytest.raises(ConfigError, match="weaker than seed_v1") as refused:
            load(self.gate(rule))
        assert f"parity: parity_deviation_frac <= {words}" in str(refused.value) or words in str(
            refused.value
        )
        labelled = load(self.gate(rule, head=HEAD + "extends: seed_v1\ntrack_label: loose\n"))
        assert labelled.track_label == "loose"

    def test_a_stage_that_takes_fewer_gates_is_weaker(self, load):
        text = HEAD + "extends: seed_v1\nstages: {canary: [parity]}\n"
        with pytest.raises(ConfigError, match="stage canary no longer takes gate execution"):
            load(text)

    def test_a_profile_that_stands_alone_needs_a_label(self, load):
        with pytest.raises(ConfigError, match="a shipped profile, or a track_label"):
            load(rules("{metric: psr, op: '>=', threshold: 0.99}", head=HEAD))

    def test_the_label_is_not_washed_off_by_another_extension(self, load):
        with pytest.raises(ConfigError, match="seed_v1_discovery is labelled"):
            load(HEAD + "extends: seed_v1_discovery\n")

    def test_pbo_never_decides_in_the_strict_profile_nor_above_it(self, load, strict):
        assert "pbo" in strict.never_decisive
        rule = "{metric: pbo, op: '<=', threshold: 0.2}"
        with pytest.raises(ConfigError, match="pbo never decides in this profile"):
            load(self.gate(rule, head=HEAD + "extends: strict_v1\n"))

    def test_nothing_is_weaker_than_itself(self, seed, strict):
        assert weaknesses(seed, seed) == ()
        assert weaknesses(strict, strict) == ()
        assert weaknesses(strict, seed) != ()


def test_a_figure_is_defined_once(tmp_path):
    path = tmp_path / "specs" / "gate_metrics" / "mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("name: mine\nmetrics:\n  psr: {label: psr, unit: probability}\n")
    with pytest.raises(ConfigError, match="figures that no other file defines, got psr"):
        load_profile(SpecCatalog.default(tmp_path), "seed_v1")
    path.write_text("name: mine\nmetrics:\n  own_figure: {label: mine, unit: bps}\n")
    assert load_profile(SpecCatalog.default(tmp_path), "seed_v1").name == "seed_v1"
