"""Reads a checkpoint's `preprocessor_config.json` in every spelling that transformers ever wrote for CLIP and SigLIP.

Differs from transformers: what cannot be honoured is refused by name instead of ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PIL import Image

from composir.errors import ComposirError

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5)

# Keys that say nothing about the pixels of an RGB picture.
HARMLESS = {
    "image_processor_type", "feature_extractor_type", "processor_class", "auto_map", "do_convert_rgb",
    "return_tensors", "data_format", "input_data_format", "device", "disable_grouping", "default_to_square",
    "size_divisor", "image_seq_length", "_valid_processor_keys",
}  # fmt: skip
KNOWN = {
    "size", "crop_size", "do_resize", "do_center_crop", "do_rescale", "rescale_factor", "do_normalize",
    "image_mean", "image_std", "resample",
}  # fmt: skip


class Preprocessor:
    """The content of one `preprocessor_config.json`; a reader raises ComposirError naming the key it cannot serve."""

    def __init__(self, config: Mapping[str, Any]):
        self.config = config
        kind = str(config.get("image_processor_type") or config.get("feature_extractor_type") or "")
        self.clip, self.siglip, self.blip = (kind.startswith(name) for name in ("CLIP", "Siglip", "Blip"))
        for key in sorted(set(config) - KNOWN - HARMLESS):
            if config[key]:  # null, false and empty switch a feature off
                raise self._refuse(key, "is not known here", "remove it if the picture does not depend on it")

    def resize(self) -> tuple[int, bool]:
        """(side, square): square = both sides to `side`, else the shorter one."""
        if not self._flag("do_resize", True):
            raise self._refuse("do_resize", "must be true", "pictures come in all sizes")
        size = self.config.get("size")
        if size is None and (self.clip or self.siglip):
            size = {"shortest_edge": 224} if self.clip else {"height": 224, "width": 224}
        if size is None and self.blip:
            size = 384
        if isinstance(size, int) and not isinstance(size, bool):
            return self._side("size", size), self.blip  # a lone number is both sides to BLIP, the shorter one to CLIP
        if isinstance(size, Mapping):
            given = {key: value for key, value in size.items() if value is not None}
            if set(given) == {"shortest_edge"}:
                return self._side("size", given["shortest_edge"]), False
            if set(given) == {"height", "width"} and given["height"] == given["width"]:
                return self._side("size", given["height"]), True
        raise self._refuse("size", "is not supported", "allowed: a number, shortest_edge, or equal height and width")

    def crop(self, resize_to: int, square: bool) -> int:
        """Side of the output."""
        given = self.config.get("crop_size")
        if not self._flag("do_center_crop", self.clip or (not self.siglip and not square)):
            if not square:
                raise self._refuse("do_center_crop", "is off while only the shorter side is set", "set it to true")
            return resize_to
        if given is None:
            given = 224 if self.clip else resize_to
        if isinstance(given, Mapping) and set(given) == {"height", "width"} and given["height"] == given["width"]:
            given = given["height"]
        side = self._side("crop_size", given)
        if square and side != resize_to:
            raise self._refuse(
                "crop_size", f"differs from size ({resize_to}), which sets both sides", "make them equal"
            )
        return side

    def normalisation(self) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        """(mean, std) on the 0..1 scale; an unusual rescale factor is folded in."""
        factor = self.config.get("rescale_factor", 1 / 255) if self._flag("do_rescale", True) else 1.0
        if isinstance(factor, bool) or not isinstance(factor, int | float) or factor <= 0:
            raise self._refuse("rescale_factor", "is not supported", "allowed: a number above 0, usually 1/255")
        if self._flag("do_normalize", True):
            mean, std = self._channels("image_mean", CLIP_MEAN), self._channels("image_std", CLIP_STD)
        else:
            mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        if min(std) <= 0:
            raise self._refuse("image_std", "is not supported", "allowed: numbers above 0")
        if abs(factor * 255 - 1) < 1e-9:
            return mean, std
        # (x f - m) / s = (x/255 - m/(255 f)) / (s/(255 f))
        fold = 255 * factor
        return (mean[0] / fold, mean[1] / fold, mean[2] / fold), (std[0] / fold, std[1] / fold, std[2] / fold)

    def resample(self) -> int:
        """A PIL.Image.Resampling value; bicubic where the file is silent."""
        value = self.config.get("resample", Image.Resampling.BICUBIC)
        if isinstance(value, bool) or not isinstance(value, int) or value not in list(Image.Resampling):
            allowed = ", ".join(f"{filter_.value} ({filter_.name.lower()})" for filter_ in Image.Resampling)
            raise self._refuse("resample", "is not supported", f"allowed: {allowed}")
        return int(value)

    def _flag(self, key: str, default: bool) -> bool:
        value = self.config.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self._refuse(key, "is not supported", "allowed: true or false")
        return value

    def _side(self, key: str, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self._refuse(key, "is not supported", "allowed: a whole number of pixels, the same for both sides")
        return value

    def _channels(self, key: str, clip_default: tuple[float, float, float]) -> tuple[float, float, float]:
        value = self.config.get(key)
        if value is None and (self.clip or self.siglip or self.blip):
            return HALF if self.siglip else clip_default
        numbers = [float(v) for v in value] if isinstance(value, list | tuple) and _numeric(value) else []
        if len(numbers) != 3:
            raise self._refuse(key, "is not supported", "allowed: three numbers, one a channel")
        return numbers[0], numbers[1], numbers[2]

    def _refuse(self, key: str, problem: str, remedy: str) -> ComposirError:
        value = self.config.get(key, "missing")
        return ComposirError(f"preprocessor_config.json: {key} = {value!r} {problem}; {remedy}")


def _numeric(values: list[object] | tuple[object, ...]) -> bool:
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
