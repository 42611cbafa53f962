# Copyright 2026 The odapi-keras Authors. All Rights Reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
# ==============================================================================
"""What a Keras model from outside may be made of: one table, with reasons.

A saved Keras model is a program in all but name. Its configuration tells Keras
which classes to make and which functions to call while it is read, so that a
file could write to the disk, load a library or run Python code of its own. Here
is what a configuration may name; `keras_config` refuses everything else before
Keras or TensorFlow see it, and `odapi.convert` prints this table.
"""

import dataclasses
import enum


class Kind(enum.Enum):
  """What a name stands for: one namespace each."""
  MODEL = 'model'
  LAYER = 'layer'
  OPERATION_LAYER = 'operation layer'
  OPERATION = 'Keras 3 operation'
  SYMBOL = 'TensorFlow symbol'
  ACTIVATION = 'activation'
  INITIALIZER = 'initializer'
  REGULARIZER = 'regularizer'
  CONSTRAINT = 'constraint'
  POLICY = 'dtype policy'


@dataclasses.dataclass(frozen=True)
class Row:
  """Names of one kind that are allowed for one reason.

  Attributes:
    kind: What the names stand for.
    group: A heading.
    names: The names, as a configuration has them.
    why: Why nothing of these can reach out of the model.
  """
  kind: Kind
  group: str
  names: frozenset
  why: str


def _row(kind, group, names, why):
  return Row(kind, group, frozenset(names.split()), why)


def _sizes(name, sizes='1D 2D 3D'):
  """Returns a layer's names for some numbers of dimensions."""
  return ' '.join(name + size for size in sizes.split())


_COMPUTES = 'computes from its inputs, its weights and the numbers given alone'

_MODELS = (
    _row(Kind.MODEL, 'models', 'Functional Model Sequential',
         'a graph of layers, each of which is looked at'),
)

_LAYERS = (
    _row(Kind.LAYER, 'inputs and shapes',
         ' '.join(['InputLayer Flatten Reshape Permute RepeatVector Identity '
                   'Masking', _sizes('Cropping'), _sizes('ZeroPadding'),
                   _sizes('UpSampling')]),
         'moves values; the sizes are bounded by those of an image'),
    _row(Kind.LAYER, 'convolutions',
         ' '.join([_sizes('Conv'), _sizes('Convolution'),
                   'Conv1DTranspose Conv2DTranspose Conv3DTranspose '
                   'Convolution1DTranspose Convolution2DTranspose '
                   'Convolution3DTranspose',
                   _sizes('SeparableConv', '1D 2D'),
                   _sizes('SeparableConvolution', '1D 2D'),
                   _sizes('DepthwiseConv', '1D 2D'),
                   _sizes('LocallyConnected', '1D 2D')]), _COMPUTES),
    _row(Kind.LAYER, 'dense layers and attention',
         'Dense EinsumDense Embedding ReversibleEmbedding Attention '
         'AdditiveAttention MultiHeadAttention GroupQueryAttention '
         'GroupedQueryAttention',
         _COMPUTES),
    _row(Kind.LAYER, 'normalization',
         'BatchNormalization BatchNormalizationV1 BatchNormalizationV2 '
         'SyncBatchNormalization LayerNormalization GroupNormalization '
         'UnitNormalization RMSNormalization Normalization', _COMPUTES),
    _row(Kind.LAYER, 'activations',
         'Activation ReLU LeakyReLU PReLU ELU Softmax ThresholdedReLU '
         'ActivityRegularization', _COMPUTES),
    _row(Kind.LAYER, 'pooling',
         ' '.join(_sizes(name) for name in (
             'MaxPooling', 'MaxPool', 'AveragePooling', 'AvgPool',
             'GlobalMaxPooling', 'GlobalMaxPool', 'GlobalAveragePooling',
             'GlobalAvgPool', 'AdaptiveAveragePooling',
             'AdaptiveMaxPooling')), _COMPUTES),
    _row(Kind.LAYER, 'merging',
         'Add Subtract Multiply Average Maximum Minimum Concatenate Dot',
         _COMPUTES),
    _row(Kind.LAYER, 'dropout and noise',
         'Dropout AlphaDropout SpatialDropout1D SpatialDropout2D '
         'SpatialDropout3D GaussianDropout GaussianNoise',
         'acts in training only'),
    _row(Kind.LAYER, 'images',
         'Rescaling Resizing CenterCrop RandomCrop RandomFlip RandomTranslation '
         'RandomRotation RandomZoom RandomHeight RandomWidth RandomContrast '
         'RandomBrightness RandomHue RandomSaturation RandomSharpness '
         'RandomShear RandomInvert RandomErasing RandomGrayscale '
         'RandomGaussianBlur RandomElasticTransform RandomPerspective '
         'RandomPosterization RandomColorDegeneration RandomColorJitter '
         'RandAugment AugMix AutoContrast CutMix MixUp Equalization Solarization '
         'ContrastLimitedAdaptiveHistogramEqualization Pipeline',
         'changes pixels by numbers given; augmentation acts in training only'),
    _row(Kind.LAYER, 'sequences',
         ' '.join(['RNN SimpleRNN SimpleRNNCell GRU GRUV1 GRUV2 GRUCell '
                   'GRUCellV1 GRUCellV2 LSTM LSTMV1 LSTMV2 LSTMCell LSTMCellV1 '
                   'LSTMCellV2 StackedRNNCells CuDNNGRU CuDNNLSTM',
                   _sizes('ConvLSTM')]),
         'computes; the cells are looked at'),
    _row(Kind.LAYER, 'wrappers',
         'TimeDistributed Bidirectional SpectralNormalization',
         'calls a layer, which is looked at'),
    _row(Kind.LAYER, 'of one network of keras.applications',
         'LayerScale StochasticDepth CustomScaleLayer Custom>CustomScaleLayer',
         "of ConvNeXt and InceptionResNetV2; code of Keras, not of the file"),
    _row(Kind.LAYER, 'categories', 'CategoryEncoding Discretization',
         'computes; the boundaries are numbers of the configuration'),
    _row(Kind.LAYER, 'losses of the model itself', 'AddLoss AddMetric',
         'adds a tensor of the graph to the losses of training'),
)

_OPERATIONS = (
    _row(Kind.OPERATION_LAYER, 'TensorFlow functions',
         'TFOpLambda SlicingOpLambda',
         'calls the symbol it names, which has to be among those below'),
    _row(Kind.SYMBOL, 'operators',
         ' '.join('__operators__.' + name for name in (
             'add sub mul div truediv floordiv mod pow matmul neg abs invert '
             'and or xor eq ne lt le gt ge radd rsub rmul rdiv rtruediv '
             'rfloordiv rmod rpow rmatmul rand ror rxor getitem').split()),
         _COMPUTES),
    _row(Kind.SYMBOL, 'arithmetic',
         ' '.join('math.' + name for name in (
             'abs accumulate_n acos acosh add add_n argmax argmin asin asinh '
             'atan atan2 atanh bessel_i0 ceil cos cosh count_nonzero cumprod '
             'cumsum divide divide_no_nan equal erf erfc exp expm1 floor '
             'floordiv floormod greater greater_equal is_finite is_inf is_nan '
             'l2_normalize less less_equal log log1p log_sigmoid log_softmax '
             'logical_and logical_not logical_or logical_xor maximum minimum '
             'mod multiply multiply_no_nan negative not_equal pow reciprocal '
             'reciprocal_no_nan reduce_all reduce_any '
             'reduce_euclidean_norm reduce_logsumexp reduce_max reduce_mean '
             'reduce_min reduce_prod reduce_std reduce_sum reduce_variance rint '
             'round rsqrt scalar_mul sigmoid sign sin sinh softmax softplus '
             'softsign sqrt square squared_difference subtract tan tanh top_k '
             'truediv xdivy xlogy').split()) +
         ' abs add argmax argmin cast clip_by_norm clip_by_value divide equal '
         'exp floor greater greater_equal less less_equal linalg.einsum '
         'linalg.l2_normalize linalg.matmul linalg.matvec linalg.normalize '
         'linalg.norm linalg.tensordot linalg.trace logical_and logical_not '
         'logical_or matmul maximum minimum multiply negative norm not_equal '
         'pow realdiv reduce_all reduce_any reduce_logsumexp reduce_max '
         'reduce_mean reduce_min reduce_prod reduce_sum round saturate_cast '
         'sigmoid sign sqrt square subtract tanh tensordot truediv einsum',
         _COMPUTES),
    _row(Kind.SYMBOL, 'slicing, reshaping, joining',
         'batch_to_space boolean_mask broadcast_to concat convert_to_tensor '
         'ensure_shape expand_dims gather gather_nd identity '
         'nn.depth_to_space nn.space_to_batch '
         'nn.space_to_depth one_hot ones_like pad rank repeat reshape reverse '
         'roll shape size slice space_to_batch split squeeze '
         'stack stop_gradient strided_slice tile transpose where '
         'zeros_like linalg.matrix_transpose linalg.diag_part '
         'linalg.band_part signal.frame '
         'image.extract_patches compat.v1.concat compat.v1.expand_dims '
         'compat.v1.gather compat.v1.pad compat.v1.reshape compat.v1.shape '
         'compat.v1.size compat.v1.space_to_depth compat.v1.depth_to_space '
         'compat.v1.squeeze compat.v1.transpose compat.v1.where '
         'compat.v1.zeros_like compat.v1.ones_like compat.v1.argmax',
         'moves values; the sizes are bounded by those of an image'),
    _row(Kind.SYMBOL, 'activations and layers as functions',
         ' '.join('nn.' + name for name in (
             'atrous_conv2d avg_pool avg_pool1d avg_pool2d avg_pool3d '
             'batch_normalization bias_add compute_average_loss conv1d conv2d '
             'conv3d conv2d_transpose convolution crelu depthwise_conv2d '
             'dilation2d dropout elu erosion2d gelu l2_loss l2_normalize '
             'leaky_relu local_response_normalization log_softmax lrn max_pool '
             'max_pool1d max_pool2d max_pool3d moments normalize_moments pool '
             'relu relu6 selu separable_conv2d sigmoid silu softmax softplus '
             'softsign swish tanh top_k weighted_moments zero_fraction '
             'local_response_normalization').split()) +
         ' ' + ' '.join('compat.v1.nn.' + name for name in (
             'avg_pool batch_normalization bias_add conv2d depthwise_conv2d '
             'depthwise_conv2d_native leaky_relu log_softmax max_pool moments '
             'relu relu6 softmax').split()) +
         ' compat.v1.math.reduce_max compat.v1.math.reduce_mean '
         'compat.v1.math.reduce_min compat.v1.math.reduce_sum '
         'compat.v1.math.log_softmax compat.v1.math.softmax '
         'compat.v1.reduce_max compat.v1.reduce_mean compat.v1.reduce_min '
         'compat.v1.reduce_sum '
         'keras.activations.elu keras.activations.exponential '
         'keras.activations.gelu keras.activations.hard_sigmoid '
         'keras.activations.linear keras.activations.mish '
         'keras.activations.relu keras.activations.selu '
         'keras.activations.sigmoid keras.activations.softmax '
         'keras.activations.softplus keras.activations.softsign '
         'keras.activations.swish keras.activations.tanh', _COMPUTES),
    _row(Kind.SYMBOL, 'functions of the Keras backend',
         ' '.join('keras.backend.' + name for name in (
             'abs argmax argmin batch_flatten bias_add cast clip concatenate '
             'cos dot dropout elu equal exp expand_dims flatten hard_sigmoid '
             'int_shape l2_normalize log max maximum mean min minimum '
             'not_equal permute_dimensions pool2d pow prod relu repeat '
             'reshape resize_images reverse round shape sigmoid '
             'sign sin softmax softplus softsign spatial_2d_padding sqrt square '
             'squeeze stack std stop_gradient sum tanh temporal_padding tile '
             'transpose var zeros_like ones_like').split()), _COMPUTES),
    _row(Kind.SYMBOL, 'images',
         ' '.join('image.' + name for name in (
             'adjust_brightness adjust_contrast adjust_gamma adjust_hue '
             'adjust_saturation central_crop convert_image_dtype crop_and_resize '
             'crop_to_bounding_box flip_left_right flip_up_down '
             'grayscale_to_rgb hsv_to_rgb pad_to_bounding_box '
             'per_image_standardization random_brightness random_contrast '
             'random_flip_left_right random_flip_up_down random_hue '
             'random_saturation resize resize_with_crop_or_pad resize_with_pad '
             'rgb_to_grayscale rgb_to_hsv rgb_to_yuv rot90 sobel_edges '
             'transpose yuv_to_rgb').split()) +
         ' compat.v1.image.resize compat.v1.image.resize_bilinear '
         'compat.v1.image.resize_nearest_neighbor compat.v1.image.resize_area '
         'compat.v1.image.resize_bicubic', _COMPUTES),
    _row(Kind.OPERATION, 'arithmetic and comparisons',
         'Absolute Abs Add Arccos Arccosh Arcsin Arcsinh Arctan Arctan2 Arctanh '
         'Ceil Clip Cos Cosh Cross Divide DivideNoNan Dot Einsum Equal Erf Erfc '
         'Exp Expm1 Exp2 Floor FloorDivide Greater GreaterEqual Inner Isfinite '
         'Isinf Isnan Less LessEqual Log Log10 Log1p Log2 Logaddexp LogicalAnd '
         'LogicalNot LogicalOr LogicalXor Logsumexp Matmul Maximum Minimum Mod '
         'Multiply NanToNum Negative NotEqual Outer Power Reciprocal Round '
         'Rsqrt Sign Sin Sinh Sqrt Square Subtract Tan Tanh Tensordot '
         'TrueDivide Vdot Where Norm Erfinv Cast SaturateCast', _COMPUTES),
    _row(Kind.OPERATION, 'slicing, reshaping, joining',
         'BroadcastTo Concatenate Copy Diagonal ExpandDims Flip GetItem Hstack '
         'Moveaxis OnesLike Pad Ravel Repeat Reshape Roll Rot90 Slice Split '
         'Squeeze Stack StopGradient Swapaxes Take TakeAlongAxis Tile Transpose '
         'Tril Triu Vstack ZerosLike DepthToSpace SpaceToDepth Unfold '
         'Fold OneHot ConvertToTensor',
         'moves values; the sizes are bounded by those of an image'),
    _row(Kind.OPERATION, 'reductions',
         'All Amax Amin Any Argmax Argmin Argsort Average CountNonzero Cumprod '
         'Cumsum Max Mean Median Min Moments Prod Ptp Quantile Sort Std Sum TopK '
         'Trace Var', _COMPUTES),
    _row(Kind.OPERATION, 'activations and layers as operations',
         'AdaptiveAveragePool AdaptiveMaxPool AveragePool BatchNorm Celu Conv '
         'ConvTranspose DepthwiseConv DotProductAttention Elu Gelu Glu '
         'HardShrink HardSigmoid HardSilu HardTanh LayerNorm LeakyRelu '
         'LogSigmoid LogSoftmax MaxPool Normalize RMSNorm Relu Relu6 Selu '
         'SeparableConv Sigmoid Silu SoftShrink Softmax Softplus Softsign '
         'SparsePlus SparseSigmoid Sparsemax Squareplus TanhShrink Threshold',
         _COMPUTES),
    _row(Kind.OPERATION, 'images',
         'RGBToGrayscale RGBToHSV HSVToRGB Resize ExtractPatches PadImages '
         'CropImages GaussianBlur', _COMPUTES),
)

_NAMES = (
    _row(Kind.ACTIVATION, 'activations',
         'celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu '
         'hard_swish hard_tanh leaky_relu linear log_sigmoid log_softmax mish '
         'relu relu6 selu sigmoid silu soft_shrink softmax softplus softsign '
         'sparse_plus sparse_sigmoid sparsemax squareplus swish tanh '
         'tanh_shrink threshold', _COMPUTES),
    _row(Kind.INITIALIZER, 'initializers',
         'Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity '
         'IdentityInitializer LecunNormal LecunUniform Ones Orthogonal '
         'OrthogonalInitializer RandomNormal RandomUniform TruncatedNormal '
         'VarianceScaling Zeros constant glorot_normal glorot_uniform he_normal '
         'he_uniform identity lecun_normal lecun_uniform normal one ones '
         'orthogonal random_normal random_uniform truncated_normal uniform '
         'variance_scaling zero zeros',
         'fills a weight whose shape the layer has'),
    _row(Kind.REGULARIZER, 'regularizers',
         'L1 L1L2 L2 OrthogonalRegularizer l1 l1_l2 l1l2 l2 '
         'orthogonal_regularizer', _COMPUTES),
    _row(Kind.CONSTRAINT, 'constraints',
         'MaxNorm MinMaxNorm NonNeg RadialConstraint UnitNorm max_norm maxnorm '
         'min_max_norm minmaxnorm non_neg nonneg radial_constraint unit_norm '
         'unitnorm', _COMPUTES),
    _row(Kind.POLICY, 'dtype policies', 'DTypePolicy FloatDTypePolicy Policy',
         'names a dtype'),
)

ROWS = _MODELS + _LAYERS + _OPERATIONS + _NAMES

# What people ask for and what is on no list on purpose: class or symbol to why.
REFUSED = {
    'Lambda': 'holds Python code of the file',
    'TensorFlowOpLayer': 'holds any operation of TensorFlow, as a node of a '
                         'graph',
    'TFSMLayer': 'loads a SavedModel from a path',
    'TorchModuleWrapper': 'unpickles, which runs code',
    'JaxLayer': 'holds Python code of the file',
    'FlaxLayer': 'holds Python code of the file',
    'StringLookup': 'reads a vocabulary file',
    'IntegerLookup': 'reads a vocabulary file',
    'TextVectorization': 'reads a vocabulary file',
    'ClassMethod': 'calls a method that the file names',
    'InstanceMethod': 'calls a method that the file names',
    'InstanceProperty': 'reads an attribute that the file names',
    'DenseFeatures': 'makes feature columns, which read files',
    'SequenceFeatures': 'makes feature columns, which read files',
}


def names(kind):
  """Returns the names of a `Kind` that are allowed, a frozenset of strings."""
  return _BY_KIND[kind]


_BY_KIND = {
    kind: frozenset().union(*(row.names for row in ROWS if row.kind is kind))
    for kind in Kind}
