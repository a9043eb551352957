"""Functions of the metrics, by what they look at; `promptrank.schema.metric_kinds` names them."""
