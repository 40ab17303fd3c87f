#!/bin/sh
# Peers in environments of their own, because their pins contradict ours: .peers/qlib, .peers/mlfinpy,
# .peers/vectorbt.
# mlfinpy does not declare scikit-learn, which it imports. Usage: sh benchmarks/peers/install.sh
set -eu
cd "$(dirname "$0")/../.."
python3 -m venv .peers/qlib
.peers/qlib/bin/pip install --quiet "pyqlib==0.9.7"
python3 -m venv .peers/mlfinpy
.peers/mlfinpy/bin/pip install --quiet "mlfinpy==0.1.2" scikit-learn
python3 -m venv .peers/vectorbt
.peers/vectorbt/bin/pip install --quiet "vectorbt==1.2.0"
