"""Applications of the gated core: one package a task, each with its data, models, Lightning modules and commands."""

# `tasks` is a common name: `gated.registry` checks this mark, so that a foreign `tasks` on the path is named, not used.
__gated_dist__ = "gated"
