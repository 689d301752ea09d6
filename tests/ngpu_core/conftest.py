"""One torch thread: the tests share two cores, and results must not depend on it."""

import torch

torch.set_num_threads(1)
