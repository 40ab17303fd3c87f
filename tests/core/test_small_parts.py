"""Causality, clock, tracks, trials: small vocabulary with sharp rules."""

import dataclasses
from datetime import UTC, datetime
from itertools import product

import pytest

from quant_engine.core.causality import Causality
from quant_engine.core.clock import FixedClock, SystemClock
from quant_engine.core.tracks import DataRegime, RunSource, ScoreSource, Track, track_of
from quant_engine.core.trials import MemoryTrialSink, Trial


@pytest.mark.feature("Q-21")
def test_causality_classes_are_ordered_by_what_they_promise():
    strengths = {kind.value: kind.strength for kind in Causality}
    assert strengths == {"CAUSAL": 2, "END_OF_DAY": 1, "RESEARCH_ONLY": 0}


class TestClock:
    def test_the_system_clock_is_aware_and_moves_on(self):
        first, second = SystemClock().now(), SystemClock().now()
        assert first.tzinfo is UTC
        assert first <= second

    def test_the_fixed_clock_stands_still(self):
        instant = datetime(2020, 1, 2, 3, tzinfo=UTC)
        clock = FixedClock(instant)
        assert clock.now() is clock.now() is instant


@pytest.mark.feature("L-02")
class TestTracks:
    @pytest.mark.feature("L-01")
    def test_every_combination_against_the_rules(self):
        """One combination is production; simulated data is calibration; the rest is research."""
        for regime, run, score in product(DataRegime, RunSource, ScoreSource):
            track = track_of(regime, run, score)
            if regime.value == "simulated":
                assert track is Track.CALIBRATION
            elif (regime.value, run.value, score.value) == ("prod_live", "prod", "model"):
                assert track is Track.PRODUCTION
            else:
                assert track is Track.RESEARCH

    def test_spellings_in_files(self):
        assert [regime.value for regime in DataRegime] == [
            "prod_live",
            "maintenance_replay",
            "mixed",
            "simulated",
        ]
        assert [run.value for run in RunSource] == ["prod", "maintenance", "smoke", "async_test"]
        assert [track.value for track in Track] == ["production", "research", "calibration"]


class TestTrials:
    TRIAL = Trial("alpha_model", "spec", "data", "split", "train")

    def test_the_same_evaluation_is_one_trial(self):
        sink = MemoryTrialSink()
        ids = {sink.record(self.TRIAL) for _ in range(3)}
        assert ids == {self.TRIAL.trial_id()}
        assert sink.trials == {self.TRIAL.trial_id(): self.TRIAL}

    @pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Trial)])
    def test_every_field_makes_another_trial(self, name):
        sink = MemoryTrialSink()
        sink.record(self.TRIAL)
        sink.record(dataclasses.replace(self.TRIAL, **{name: "other"}))
        assert len(sink.trials) == 2

    def test_order_of_recording_is_kept(self):
        sink = MemoryTrialSink()
        for number in (3, 1, 2):
            sink.record(dataclasses.replace(self.TRIAL, spec_id=str(number)))
        assert [trial.spec_id for trial in sink.trials.values()] == ["3", "1", "2"]
