"""Triton's description of a model: what a `config.pbtxt` may say.

Names and numbers are those of Triton's model_config.proto (tritonclient 2.73), all of them, so that a word that Triton
does not know is not known here either.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from pipelines.packagers.protos.define import define


@cache
def model_config() -> Mapping[str, Any]:
    """The classes by their names; a `config.pbtxt` is a `ModelConfig`."""
    return define("inference", _TOLD)


_TOLD = """
enum DataType
  0 TYPE_INVALID
  1 TYPE_BOOL
  2 TYPE_UINT8
  3 TYPE_UINT16
  4 TYPE_UINT32
  5 TYPE_UINT64
  6 TYPE_INT8
  7 TYPE_INT16
  8 TYPE_INT32
  9 TYPE_INT64
  10 TYPE_FP16
  11 TYPE_FP32
  12 TYPE_FP64
  13 TYPE_STRING
  14 TYPE_BF16
message ModelRateLimiter
  1 resources Resource*
  2 priority uint32
message ModelRateLimiter.Resource
  1 name string
  2 global bool
  3 count uint32
message ModelInstanceGroup
  1 name string
  4 kind Kind
  2 count int32
  6 rate_limiter ModelRateLimiter
  3 gpus int32*
  8 secondary_devices SecondaryDevice*
  5 profile string*
  7 passive bool
  9 host_policy string
enum ModelInstanceGroup.Kind
  0 KIND_AUTO
  1 KIND_GPU
  2 KIND_CPU
  3 KIND_MODEL
message ModelInstanceGroup.SecondaryDevice
  1 kind SecondaryDeviceKind
  2 device_id int64
enum ModelInstanceGroup.SecondaryDevice.SecondaryDeviceKind
  0 KIND_NVDLA
message ModelTensorReshape
  1 shape int64*
message ModelInput
  1 name string
  2 data_type DataType
  3 format Format
  4 dims int64*
  5 reshape ModelTensorReshape
  6 is_shape_tensor bool
  7 allow_ragged_batch bool
  8 optional bool
  9 is_non_linear_format_io bool
enum ModelInput.Format
  0 FORMAT_NONE
  1 FORMAT_NHWC
  2 FORMAT_NCHW
message ModelOutput
  1 name string
  2 data_type DataType
  3 dims int64*
  5 reshape ModelTensorReshape
  4 label_filename string
  6 is_shape_tensor bool
  7 is_non_linear_format_io bool
message BatchInput
  1 kind Kind
  2 target_name string*
  3 data_type DataType
  4 source_input string*
enum BatchInput.Kind
  0 BATCH_ELEMENT_COUNT
  1 BATCH_ACCUMULATED_ELEMENT_COUNT
  2 BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO
  3 BATCH_MAX_ELEMENT_COUNT_AS_SHAPE
  4 BATCH_ITEM_SHAPE
  5 BATCH_ITEM_SHAPE_FLATTEN
message BatchOutput
  1 target_name string*
  2 kind Kind
  3 source_input string*
enum BatchOutput.Kind
  0 BATCH_SCATTER_WITH_INPUT_SHAPE
message ModelVersionPolicy
  1 latest Latest in policy_choice
  2 all All in policy_choice
  3 specific Specific in policy_choice
message ModelVersionPolicy.Latest
  1 num_versions uint32
message ModelVersionPolicy.All
message ModelVersionPolicy.Specific
  1 versions int64*
message ModelOptimizationPolicy
  1 graph Graph
  2 priority ModelPriority
  3 cuda Cuda
  4 execution_accelerators ExecutionAccelerators
  5 input_pinned_memory PinnedMemoryBuffer
  6 output_pinned_memory PinnedMemoryBuffer
  7 gather_kernel_buffer_threshold uint32
  8 eager_batching bool
enum ModelOptimizationPolicy.ModelPriority
  0 PRIORITY_DEFAULT
  1 PRIORITY_MAX
  2 PRIORITY_MIN
message ModelOptimizationPolicy.Graph
  1 level int32
message ModelOptimizationPolicy.Cuda
  1 graphs bool
  2 busy_wait_events bool
  3 graph_spec GraphSpec*
  4 output_copy_stream bool
message ModelOptimizationPolicy.Cuda.GraphSpec
  1 batch_size int32
  2 input map string Shape
  3 graph_lower_bound LowerBound
message ModelOptimizationPolicy.Cuda.GraphSpec.Shape
  1 dim int64*
message ModelOptimizationPolicy.Cuda.GraphSpec.LowerBound
  1 batch_size int32
  2 input map string Shape
message ModelOptimizationPolicy.ExecutionAccelerators
  1 gpu_execution_accelerator Accelerator*
  2 cpu_execution_accelerator Accelerator*
message ModelOptimizationPolicy.ExecutionAccelerators.Accelerator
  1 name string
  2 parameters map string string
message ModelOptimizationPolicy.PinnedMemoryBuffer
  1 enable bool
message ModelQueuePolicy
  1 timeout_action TimeoutAction
  2 default_timeout_microseconds uint64
  3 allow_timeout_override bool
  4 max_queue_size uint32
enum ModelQueuePolicy.TimeoutAction
  0 REJECT
  1 DELAY
message ModelDynamicBatching
  1 preferred_batch_size int32*
  2 max_queue_delay_microseconds uint64
  3 preserve_ordering bool
  4 priority_levels uint64
  5 default_priority_level uint64
  6 default_queue_policy ModelQueuePolicy
  7 priority_queue_policy map uint64 ModelQueuePolicy
message ModelSequenceBatching
  3 direct StrategyDirect in strategy_choice
  4 oldest StrategyOldest in strategy_choice
  1 max_sequence_idle_microseconds uint64
  2 control_input ControlInput*
  5 state State*
  6 iterative_sequence bool
message ModelSequenceBatching.Control
  1 kind Kind
  2 int32_false_true int32*
  3 fp32_false_true float*
  5 bool_false_true bool*
  4 data_type DataType
enum ModelSequenceBatching.Control.Kind
  0 CONTROL_SEQUENCE_START
  1 CONTROL_SEQUENCE_READY
  2 CONTROL_SEQUENCE_END
  3 CONTROL_SEQUENCE_CORRID
message ModelSequenceBatching.ControlInput
  1 name string
  2 control Control*
message ModelSequenceBatching.InitialState
  1 data_type DataType
  2 dims int64*
  3 zero_data bool in state_data
  4 data_file string in state_data
  5 name string
message ModelSequenceBatching.State
  1 input_name string
  2 output_name string
  3 data_type DataType
  4 dims int64*
  5 initial_state InitialState*
  6 use_same_buffer_for_input_output bool
  7 use_growable_memory bool
message ModelSequenceBatching.StrategyDirect
  1 max_queue_delay_microseconds uint64
  2 minimum_slot_utilization float
message ModelSequenceBatching.StrategyOldest
  1 max_candidate_sequences int32
  2 preferred_batch_size int32*
  3 max_queue_delay_microseconds uint64
  4 preserve_ordering bool
message ModelEnsembling
  1 step Step*
  2 max_inflight_requests uint32
message ModelEnsembling.Step
  1 model_name string
  2 model_version int64
  3 input_map map string string
  4 output_map map string string
  5 model_namespace string
message ModelParameter
  1 string_value string
message ModelWarmup
  1 name string
  2 batch_size uint32
  3 inputs map string Input
  4 count uint32
message ModelWarmup.Input
  1 data_type DataType
  2 dims int64*
  3 zero_data bool in input_data_type
  4 random_data bool in input_data_type
  5 input_data_file string in input_data_type
message ModelOperations
  1 op_library_filename string*
message ModelTransactionPolicy
  1 decoupled bool
message ModelRepositoryAgents
  1 agents Agent*
message ModelRepositoryAgents.Agent
  1 name string
  2 parameters map string string
message ModelResponseCache
  1 enable bool
message ModelMetrics
  1 metric_control MetricControl*
message ModelMetrics.MetricControl
  1 metric_identifier MetricIdentifier
  2 histogram_options HistogramOptions in metric_options
message ModelMetrics.MetricControl.MetricIdentifier
  1 family string
message ModelMetrics.MetricControl.HistogramOptions
  1 buckets double*
message ModelConfig
  1 name string
  2 platform string
  17 backend string
  25 runtime string
  3 version_policy ModelVersionPolicy
  4 max_batch_size int32
  5 input ModelInput*
  6 output ModelOutput*
  20 batch_input BatchInput*
  21 batch_output BatchOutput*
  12 optimization ModelOptimizationPolicy
  11 dynamic_batching ModelDynamicBatching in scheduling_choice
  13 sequence_batching ModelSequenceBatching in scheduling_choice
  15 ensemble_scheduling ModelEnsembling in scheduling_choice
  7 instance_group ModelInstanceGroup*
  8 default_model_filename string
  9 cc_model_filenames map string string
  10 metric_tags map string string
  14 parameters map string ModelParameter
  16 model_warmup ModelWarmup*
  18 model_operations ModelOperations
  19 model_transaction_policy ModelTransactionPolicy
  23 model_repository_agents ModelRepositoryAgents
  24 response_cache ModelResponseCache
  26 model_metrics ModelMetrics
"""
