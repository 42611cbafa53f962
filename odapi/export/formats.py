"""Other formats than SavedModel for a trained detector: TensorFlow Lite and ONNX.

Both take one image, uint8 RGB; preprocessing and non-maximum suppression are inside. What they
return has the SavedModel's names and meaning.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from odapi.console.errors import UserError
from odapi.console.runtime import stderr_held_back

if TYPE_CHECKING:
    from odapi.detector.detector import Detector

FILES = {"tflite": "model.tflite", "onnx": "model.onnx"}
"""Format to the file it is written to."""
OPSET = 18
"""Of ONNX: the highest that tf2onnx 1.17 writes."""
_ONNX_PACKAGES = ("tf2onnx", "onnx", "onnxruntime")
_LITE_ARCHITECTURES = ("ssd", "center_net")


@dataclass(frozen=True)
class Converted:
    """A converted model, loaded from its file.

    Attributes:
        detector: runs it, on images of `size`.
        size: height and width of its images, in pixels; None: any.
        inputs: name, shape and dtype of its input; -1 in a shape stands for any number.
        outputs: likewise, of its outputs, in the file's order.
    """

    detector: Detector
    size: tuple[int, int] | None
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]

    def fit(self, image: np.ndarray) -> np.ndarray:
        """An image, uint8 [H, W, 3], in the size it takes."""
        if self.size is None or image.shape[:2] == self.size:
            return image
        height, width = self.size
        return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def require_packages(formats: Sequence[str]) -> None:
    """Raises UserError where a package is missing that a format needs."""
    missing = [name for name in _ONNX_PACKAGES if find_spec(name) is None]
    if "onnx" in formats and missing:
        raise UserError(
            "not installed: " + ", ".join(missing),
            at="--format onnx",
            hint=".venv/bin/pip install --no-deps --require-hashes -r requirements/onnx.lock",
        )


def check_config(formats: Sequence[str], config: Any) -> None:
    """Raises UserError where a format cannot hold the model of a config."""
    if "tflite" not in formats:
        return
    kind = config.model.WhichOneof("model")
    if kind not in _LITE_ARCHITECTURES:
        raise UserError(
            f"TensorFlow Lite takes {' and '.join(_LITE_ARCHITECTURES)} models, not {kind}",
            at=f"--format tflite; config: model.{kind}",
            hint="its builtin operations cannot crop features to proposals; take --format onnx",
        )
    _fixed_size(config)


def convert(kind: str, original: Detector, config: Any, folder: Path) -> Converted:
    """Writes the model in a format, and loads what was written.

    Args:
        kind: a key of `FILES`.
        original: from `Detector.from_checkpoint`.
        config: its config, which `check_config` accepts.
        folder: where the file goes.

    Raises:
        UserError: the format has no operation for something in the model.
    """
    path = folder / FILES[kind]
    if kind == "tflite":
        size = _fixed_size(config)
        path.write_bytes(_tflite_model(original, size))
        return _load_tflite(path, size)
    path.write_bytes(_onnx_model(original))
    return _load_onnx(path)


def _fixed_size(config: Any) -> tuple[int, int]:
    """Height and width of the images that the network gets."""
    kind = config.model.WhichOneof("model")
    resizer = getattr(config.model, kind).image_resizer
    chosen = resizer.WhichOneof("image_resizer_oneof")
    if chosen != "fixed_shape_resizer":
        raise UserError(
            "TensorFlow Lite takes images of one size, and the config's images have several",
            at=f"--format tflite; config: model.{kind}.image_resizer.{chosen}",
            hint=f"--config_override='model {{ {kind} {{ image_resizer {{ fixed_shape_resizer "
            "{ height: 512 width: 512 } } } }', with the size trained on; it stretches images",
        )
    return resizer.fixed_shape_resizer.height, resizer.fixed_shape_resizer.width


def _tflite_model(original: Detector, size: tuple[int, int]) -> bytes:
    import tensorflow as tf
    from tensorflow.lite.python.convert_phase import ConverterError

    # Without TFLite_Detection_PostProcess, upstream's way: it leaves boxes unclipped, and knows no
    # other non-maximum suppression than its own. The builtin one does what the checkpoint does,
    # and was faster: 39 instead of 129 ms for MobileNetV2 with 90 classes on one core.
    owner = tf.Module()
    owner.values = list(original.variables)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([original.trace(*size)], owner)
    try:
        return converter.convert()
    except ConverterError as error:
        raise _refused(error, r"(?:Custom|TF Select) ops: (.*)", "--format tflite") from None


def _load_tflite(path: Path, size: tuple[int, int]) -> Converted:
    import tensorflow as tf

    from odapi.detector.detector import Detector

    # Its library writes to standard error which delegate it takes, whatever the log level.
    with stderr_held_back():
        interpreter = tf.lite.Interpreter(str(path))
        interpreter.allocate_tensors()
    [signature] = interpreter.get_signature_list()
    runner = interpreter.get_signature_runner(signature)

    def infer(images: np.ndarray) -> dict[str, np.ndarray]:
        return runner(input_tensor=images)

    def described(name: str, found: Mapping[str, Any]) -> dict[str, Any]:
        shape = [int(length) for length in found["shape_signature"]]
        return {"name": name, "shape": shape, "dtype": np.dtype(found["dtype"]).name}

    outputs = runner.get_output_details()
    places = [found["index"] for found in interpreter.get_output_details()]
    ordered = sorted(outputs, key=lambda name: places.index(outputs[name]["index"]))
    return Converted(
        Detector(infer, str(path), [], batch_size=1),
        size,
        [described(name, found) for name, found in runner.get_input_details().items()],
        [described(name, outputs[name]) for name in ordered],
    )


def _onnx_model(original: Detector) -> bytes:
    import onnx
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
    from tf2onnx.convert import from_graph_def

    traced = original.trace()
    # Not tf2onnx's from_function: it takes constants made before tracing, as the anchor generators
    # have them, for inputs of the model.
    frozen = convert_variables_to_constants_v2(
        traced, lower_control_flow=False, aggressive_inlining=True
    )
    [taken] = [tensor.name for tensor in frozen.inputs]
    # The outputs of a function that returns a dictionary are in the order of its keys.
    given = [tensor.name for tensor in frozen.outputs]
    fields = dict(zip(given, sorted(traced.structured_outputs), strict=True))
    model, _ = from_graph_def(
        frozen.graph.as_graph_def(),
        name="detector",
        input_names=[taken],
        output_names=given,
        opset=OPSET,
        tensors_to_rename={taken: "input_tensor"} | fields,
    )
    for output in model.graph.output:
        shape = traced.structured_outputs[output.name].shape
        for dimension, length in zip(output.type.tensor_type.shape.dim, shape, strict=True):
            dimension.dim_value = length
    try:
        # What tf2onnx cannot convert, it keeps under TensorFlow's name.
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise _refused(error, r"OpType: (\w+)", "--format onnx") from None
    return model.SerializeToString()


def _load_onnx(path: Path) -> Converted:
    import onnxruntime

    from odapi.detector.detector import Detector

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [tensor.name for tensor in session.get_outputs()]

    def infer(images: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(names, {"input_tensor": images}), strict=True))

    def described(tensor: Any) -> dict[str, Any]:
        shape = [length if isinstance(length, int) else -1 for length in tensor.shape]
        dtype = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}[tensor.type]
        return {"name": tensor.name, "shape": shape, "dtype": dtype}

    return Converted(
        Detector(infer, str(path), [], batch_size=1),
        None,
        [described(tensor) for tensor in session.get_inputs()],
        [described(tensor) for tensor in session.get_outputs()],
    )


def _refused(error: Exception, operations: str, flag: str) -> Exception:
    """What a converter's complaint says of operations; itself, if it is about something else."""
    found = re.search(operations, str(error))
    if found is None:
        return error
    return UserError(
        f"the format has no operation for something in the model: {found[1]}",
        at=flag,
        hint="leave the format out, or change what the config asks for",
    )
