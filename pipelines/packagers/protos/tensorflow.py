"""TensorFlow's SavedModel, its checkpoint's index, and what TensorFlow Serving logs of requests.

Names and numbers are those of TensorFlow's saved_model.proto, meta_graph.proto, saved_object_graph.proto,
tensor_bundle.proto and tensor.proto, and TensorFlow Serving's prediction_log.proto and predict.proto. What is left out,
a SavedModel's graph above all, is passed over when one is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from pipelines.packagers.protos.define import define


@cache
def saved_model() -> Mapping[str, Any]:
    """The classes of a `saved_model.pb`, which is a `SavedModel`."""
    return define("tensorflow", _SHAPE + _SAVED_MODEL)


@cache
def bundle() -> Mapping[str, Any]:
    """The classes of a checkpoint's index: its header and its entries."""
    return define("tensorflow", _BUNDLE)


@cache
def prediction_log() -> Mapping[str, Any]:
    """The classes of a warm-up request, which is a `PredictionLog`."""
    return define("tensorflow.serving", _SHAPE + _PREDICTION_LOG)


_SHAPE = """
message TensorShapeProto
  2 dim Dim*
  3 unknown_rank bool
message TensorShapeProto.Dim
  1 size int64
"""
_SAVED_MODEL = """
message SavedModel
  2 meta_graphs MetaGraphDef*
message MetaGraphDef
  1 meta_info_def MetaInfoDef
  5 signature_def map string SignatureDef
  6 asset_file_def AssetFileDef*
  7 object_graph_def SavedObjectGraph
message MetaGraphDef.MetaInfoDef
  4 tags string*
message SignatureDef
  1 inputs map string TensorInfo
  2 outputs map string TensorInfo
message TensorInfo
  1 name string in encoding
  2 dtype int32
  3 tensor_shape TensorShapeProto
  4 coo_sparse Composed in encoding
  5 composite_tensor Composed in encoding
message Composed
message AssetFileDef
  2 filename string
message SavedObjectGraph
  1 nodes SavedObject*
message SavedObject
  7 variable SavedVariable
message SavedVariable
"""
_BUNDLE = """
message BundleHeaderProto
  1 num_shards int32
message BundleEntryProto
  3 shard_id int32
  4 offset int64
  5 size int64
"""
_PREDICTION_LOG = """
message PredictionLog
  6 predict_log PredictLog in log_type
message PredictLog
  1 request PredictRequest
message PredictRequest
  1 model_spec ModelSpec
  2 inputs map string TensorProto
message ModelSpec
  1 name string
  3 signature_name string
message TensorProto
  1 dtype int32
  2 tensor_shape TensorShapeProto
  4 tensor_content bytes
  8 string_val bytes*
  5 float_val float*
  6 double_val double*
  7 int_val int32*
  10 int64_val int64*
  11 bool_val bool*
  13 half_val int32*
  16 uint32_val uint32*
  17 uint64_val uint64*
"""
