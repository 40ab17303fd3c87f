"""Features and labels: causal formulas on a market panel, and what a decision would have earned.

Doors: `quant_engine.features.pipeline` (features), `quant_engine.features.labels` (forward labels),
`quant_engine.features.expressions.program` (factors written as one line),
`quant_engine.features.transforms` (cross-sectional transforms), `quant_engine.features.barriers`
(labels of events). Row t of a feature reads rows up to t alone; a label carries the span of
sessions it depends on.
"""
