"""One torch thread: the tests share two cores."""

import torch

torch.set_num_threads(1)
