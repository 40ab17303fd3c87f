#!/bin/sh
# Peers in environments of their own, because their pins contradict ours: .peers/qlib, .peers/mlfinpy,
# .peers/vectorbt, .peers/bt, .peers/zipline.
# mlfinpy does not declare scikit-learn, which it imports. Usage: sh benchmarks/peers/install.sh
set -eu
cd "$(dirname "$0")/../.."
python3 -m venv .peers/qlib
.peers/qlib/bin/pip install --quiet "pyqlib==0.9.7"
python3 -m venv .peers/mlfinpy
.peers/mlfinpy/bin/pip install --quiet "mlfinpy==0.1.2" scikit-learn
python3 -m venv .peers/vectorbt
.peers/vectorbt/bin/pip install --quiet "vectorbt==1.2.0" "vectorbt-rust==1.2.0"
python3 -m venv .peers/bt
.peers/bt/bin/pip install --quiet "bt==1.4.1"
python3 -m venv .peers/zipline
.peers/zipline/bin/pip install --quiet "zipline-reloaded==3.2.1"
