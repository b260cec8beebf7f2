"""One safetensors file that says itself what it is: method, arguments, backbone, gallery key, run, step, scores.

It holds what training changed and names the backbone that has the rest. A tensor too few, too many or of another shape
is refused, and so is another backbone under the same name. Importing this package does not import torch.
"""

from __future__ import annotations

from composir.checkpoint.header import BEST as BEST
from composir.checkpoint.header import Header as Header
from composir.checkpoint.header import content_hash as content_hash
from composir.checkpoint.header import locate as locate
from composir.checkpoint.header import read_header as read_header
from composir.checkpoint.origin import Loaded as Loaded
from composir.checkpoint.origin import arguments_of as arguments_of
from composir.checkpoint.origin import loaded_from as loaded_from
from composir.checkpoint.origin import plain as plain
from composir.checkpoint.origin import spelled as spelled
from composir.checkpoint.stages import take_over as take_over
from composir.checkpoint.weights import load as load
from composir.checkpoint.weights import place_of as place_of
from composir.checkpoint.weights import save as save
