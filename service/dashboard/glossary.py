"""The words of the service, as the help page explains them."""

#: Word and meaning, from the whole to its parts.
WORDS: tuple[tuple[str, str], ...] = (
    ("sweep", "What you submit: a named spec, a grid of configurations times seeds."),
    (
        "configuration",
        "One point of the grid: everything that fixes a result except the seed. Its digest names "
        "it whatever the sweep is called.",
    ),
    ("seed run", "One configuration trained with one seed: one row, one yes or no."),
    (
        "pack",
        "Several seeds of one configuration trained as one batched model. A seed ends as it would "
        "alone.",
    ),
    ("trial", "What Ray Tune schedules: it trains one pack."),
    ("task", "A generator of problems with their answers, such as badd: binary addition."),
    ("family", "A kind of model: neural_gpu, diagonal_neural_gpu, lstm_attention."),
    (
        "sequence error",
        "Share of sequences with any wrong symbol. The success rule reads it unless the spec "
        "says otherwise.",
    ),
    ("symbol error", "Share of wrong symbols."),
    ("generalization", "Sequence error at lengths never trained on."),
    (
        "success rule",
        "When a seed counts as successful: its error at a length is below a bound, ever or at the "
        "last test.",
    ),
    (
        "carry threshold",
        "The shortest carry, in digits, at which half of a seed's sums are wrong. Censored: no "
        "such length up to the longest one tested.",
    ),
    ("diverged", "The loss was no longer finite or exploded. A result: counted, not successful."),
    ("failed", "The program or the machine gave up. No result: excluded, stated, retried."),
)
