"""Expressions: factors as text, compiled to one graph and run by kernels.

Doors: `quant_engine.features.expressions.program` (`compile_expressions`, `Program`),
`quant_engine.features.expressions.operators` (`OPERATORS`, every name a formula may call),
`quant_engine.features.expressions.errors` (`ExpressionError`).
"""
