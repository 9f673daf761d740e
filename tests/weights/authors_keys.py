"""Names and shapes of the tensors in the authors' files, from the definitions of their networks.

Written after the prototxt files and the code of the projects, not after the models here.
"""

VGG = (64, 128, 256, 512, 512)
COUNTS = (2, 2, 3, 3, 3)
RESNETS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
CLASSES = {"voc": 21, "ade20k": 150, "cityscapes": 19, "coco": 182, "context": 60, "nyud": 40}


def conv(name, filters, channels, size, bias=True):
    """Blobs of a convolution of Caffe."""
    found = {f"{name}.0": (filters, channels, size, size)}
    return {**found, f"{name}.1": (filters,)} if bias else found


def vgg(top=True):
    found, channels = {}, 3
    for block, (width, count) in enumerate(zip(VGG, COUNTS, strict=True), 1):
        for n in range(1, count + 1):
            found |= conv(f"conv{block}_{n}", width, channels, 3)
            channels = width
    if top:
        found |= {**conv("fc6", 4096, 512, 7), **conv("fc7", 4096, 4096, 1)}
    return found


def fcn_head(stride, classes, suffix=""):
    kernels = {
        32: {"upscore": 64},
        16: {"upscore2": 4, "upscore16": 32},
        8: {"upscore2": 4, "upscore_pool4": 4, "upscore8": 16},
    }[stride]
    found = conv(f"score_fr{suffix}", classes, 4096, 1)
    if stride < 32:
        found |= conv(f"score_pool4{suffix}", classes, 512, 1)
    if stride < 16:
        found |= conv(f"score_pool3{suffix}", classes, 256, 1)
    for name, size in kernels.items():
        found[f"{name}{suffix}.0"] = (classes, classes, size, size)
    return found


def fcn_alexnet():
    """CaffeNet: some convolutions see half of the channels."""
    found = conv("conv1", 96, 3, 11) | conv("conv2", 256, 48, 5) | conv("conv3", 384, 256, 3)
    found |= conv("conv4", 384, 192, 3) | conv("conv5", 256, 192, 3)
    found |= conv("fc6", 4096, 256, 6) | conv("fc7", 4096, 4096, 1)
    return {**found, **conv("score_fr", 21, 4096, 1), "upscore.0": (21, 21, 63, 63)}


def deconvnet(name):
    """A mirrored VGG-16; kernels of deconvolutions have their inputs first."""
    found, norms = vgg(), {}
    for block, count in enumerate(COUNTS, 1):
        width, finer = VGG[block - 1], VGG[max(block - 2, 0)]
        for n in range(1, count + 1):
            norms[f"bn{block}_{n}"] = width
            norms[f"debn{block}_{n}"] = last = finer if n == count else width
            found[f"deconv{block}_{n}.0"] = (width, last, 3, 3)
            found[f"deconv{block}_{n}.1"] = (last,)
    found |= {"fc6-deconv.0": (4096, 512, 7, 7), "fc6-deconv.1": (512,)}
    norms |= {"bnfc6": 4096, "bnfc7": 4096, "fc6-deconv-bn": 512}
    for norm, width in norms.items():
        found |= {f"{norm}.0": (1, width, 1, 1), f"{norm}.1": (1, width, 1, 1)}
    return {**found, **conv("seg-score-voc", 21, 64, 1)}


def fcn(name):
    if "alexnet" in name:
        return fcn_alexnet()
    stride = int(name[3:].split("s_")[0])
    found = vgg()
    if "sift_flow" in name:
        return {**found, **fcn_head(stride, 33, "_sem"), **fcn_head(stride, 3, "_geo")}
    classes = next((n for key, n in CLASSES.items() if key in name and key != "voc"), 21)
    found |= fcn_head(stride, classes)
    if "pytorch" in name:
        ends = {"0": "weight", "1": "bias"}
        return {f"{key[:-1]}{ends[key[-1]]}": shape for key, shape in found.items()}
    if "atonce" in name:
        found |= {"scale_pool3.0": (256,), "scale_pool4.0": (512,)}
    return found


def dilation(name):
    depth = int(name[8:].split("_")[0])
    voc = "voc" in name
    classes = {"voc": 21, "cityscapes": 19}.get(name.split("_")[-1], 11)
    found = {**vgg(), **conv("fc-final" if voc else "final", classes, 4096, 1)}
    names = ["conv1_1", "conv1_2", *(f"conv{n}_1" for n in range(2, depth - 2)), "fc1"]
    widths = (2, 2, 4, 8, 16, 32, 32) if voc else (1,) * len(names)
    prefix, before = "ct" if voc else "ctx", 1
    for layer, width in zip(names, widths, strict=True):
        found |= conv(f"{prefix}_{layer}", width * classes, before * classes, 3)
        before = width
    found |= conv(f"{prefix}_final", classes, before * classes, 1)
    if "cityscapes" in name:
        found["ctx_upsample.0"] = (classes, 1, 16, 16)
    return found


def bottlenecks(depth, stem):
    """`(stage, block, part, filters, channels, size)` of all convolutions; part 0 projects."""
    channels = stem
    for stage, count in enumerate(RESNETS[depth], 1):
        width = 32 * 2**stage
        for block in range(1, count + 1):
            yield stage, block, 1, width, channels, 1
            yield stage, block, 2, width, width, 3
            yield stage, block, 3, 4 * width, width, 1
            if block == 1:
                yield stage, block, 0, 4 * width, channels, 1
            channels = 4 * width


def torch_unit(conv_name, norm_name, filters, channels, size):
    parts = ("weight", "bias", "running_mean", "running_var")
    return {
        f"{conv_name}.weight": (filters, channels, size, size),
        **{f"{norm_name}.{part}": (filters,) for part in parts},
        f"{norm_name}.num_batches_tracked": (),
    }


def deeplabv2(name):
    classes = CLASSES["coco"] if "coco" in name else 21
    found = {}
    if not name.endswith("caffe"):
        found |= torch_unit("base.layer1.conv1.conv", "base.layer1.conv1.bn", 64, 3, 7)
        parts = ("shortcut", "reduce", "conv3x3", "increase")
        for stage, block, part, *shape in bottlenecks(101, 64):
            start = f"base.layer{stage + 1}.block{block}.{parts[part]}"
            found |= torch_unit(f"{start}.conv", f"{start}.bn", *shape)
        for n in range(4):
            found[f"base.aspp.c{n}.weight"] = (classes, 2048, 3, 3)
            found[f"base.aspp.c{n}.bias"] = (classes,)
        return found

    def unit(conv_name, tail, filters, channels, size):
        return {
            **conv(conv_name, filters, channels, size, bias=False),
            f"bn{tail}.0": (filters,),
            f"bn{tail}.1": (filters,),
            f"bn{tail}.2": (1,),
            f"scale{tail}.0": (filters,),
            f"scale{tail}.1": (filters,),
        }

    found |= unit("conv1", "_conv1", 64, 3, 7)
    for stage, block, part, *shape in bottlenecks(101, 64):
        letter = "abc"[block - 1] if stage in (1, 4) else f"b{block - 1}" if block > 1 else "a"
        tail = f"{stage + 1}{letter}_branch{('1', '2a', '2b', '2c')[part]}"
        found |= unit(f"res{tail}", tail, *shape)
    for n in range(4):
        found |= conv(f"fc1_voc12_c{n}", classes, 2048, 3)
    return found


def pspnet(name):
    depth = int(name[6:].split("_")[0])
    classes = next(n for key, n in CLASSES.items() if key in name.lower())
    if name.endswith("caffe"):
        return pspnet_caffe(depth, classes)
    found = {}
    for n, (filters, channels) in enumerate(((64, 3), (64, 64), (128, 64))):
        found |= torch_unit(f"layer0.{3 * n}", f"layer0.{3 * n + 1}", filters, channels, 3)
    for stage, block, part, *shape in bottlenecks(depth, 128):
        start = f"layer{stage}.{block - 1}."
        names = (f"{start}conv{part}", f"{start}bn{part}")
        if part == 0:
            names = (f"{start}downsample.0", f"{start}downsample.1")
        found |= torch_unit(*names, *shape)
    for n in range(4):
        found |= torch_unit(f"ppm.features.{n}.1", f"ppm.features.{n}.2", 512, 2048, 1)
    for head, width, channels in (("cls", 512, 4096), ("aux", 256, 1024)):
        found |= torch_unit(f"{head}.0", f"{head}.1", width, channels, 3)
        found |= {f"{head}.4.weight": (classes, width, 1, 1), f"{head}.4.bias": (classes,)}
    return {f"module.{key}": shape for key, shape in found.items()}


def pspnet_caffe(depth, classes):
    found = {}

    def unit(name, filters, channels, size):
        found.update(conv(name, filters, channels, size, bias=False))
        found.update({f"{name}/bn.{n}": (1, filters, 1, 1) for n in range(4)})

    for name, filters, channels in (
        ("conv1_1_3x3_s2", 64, 3),
        ("conv1_2_3x3", 64, 64),
        ("conv1_3_3x3", 128, 64),
    ):
        unit(name, filters, channels, 3)
    parts = ("1x1_proj", "1x1_reduce", "3x3", "1x1_increase")
    for stage, block, part, *shape in bottlenecks(depth, 128):
        unit(f"conv{stage + 1}_{block}_{parts[part]}", *shape)
    for n in (1, 2, 3, 6):
        unit(f"conv5_3_pool{n}_conv", 512, 2048, 1)
    unit("conv5_4", 512, 4096, 3)
    return {**found, **conv("conv6", classes, 512, 1)}


def crfasrnn(name):
    names = {
        "score_fr": "score-fr",
        "score_pool4": "score-pool4",
        "score_pool3": "score-pool3",
        "upscore2": "score2",
        "upscore_pool4": "score4",
        "upscore8": "upsample",
    }
    found = {}
    for key, shape in {**vgg(), **fcn_head(8, 21), "upscore2.1": (21,)}.items():
        layer, part = key.rsplit(".", 1)
        layer = names.get(layer, layer)
        if len(shape) == 4:
            shape = (*shape[2:], shape[1], shape[0])
        found[f"{layer}/{layer}/{('kernel', 'bias')[int(part)]}:0"] = shape
    for matrix in ("spatial_ker_weights", "bilateral_ker_weights", "compatibility_matrix"):
        found[f"crfrnn/crfrnn/{matrix}:0"] = (21, 21)
    return found


def segnet(name):
    classes = {"driving": 12, "pascal": 21}[name]
    found, channels = {}, 512
    widths = {key[:-2]: shape[:2] for key, shape in vgg(top=False).items() if len(shape) == 4}
    for layer, (filters, inner) in widths.items():
        found |= conv(layer, filters, inner, 3)
        found |= {f"{layer}_bn.{n}": (1, filters, 1, 1) for n in range(2)}
    for layer, (_, inner) in reversed(widths.items()):
        # A mirror: from the output of the encoder's convolution to its input.
        filters = classes if layer == "conv1_1" else inner
        found |= conv(f"{layer}_D", filters, channels, 3)
        if layer != "conv1_1":
            found |= {f"{layer}_D_bn.{n}": (1, filters, 1, 1) for n in range(2)}
        channels = filters
    return found


# EfficientNet-Lite3: kernel, number of blocks, channels of each stage.
LITE3 = ((3, 1, 24), (3, 3, 32), (5, 3, 48), (3, 5, 96), (5, 5, 136), (5, 6, 232), (3, 1, 384))


def resnext101():
    found = torch_unit("layer1.0", "layer1.1", 64, 3, 7)
    channels = 64
    for stage, count in enumerate((3, 4, 23, 3), 1):
        width = 128 * 2**stage
        for block in range(count):
            start = f"layer{stage}.{block}" if stage > 1 else f"layer1.4.{block}"
            found |= torch_unit(f"{start}.conv1", f"{start}.bn1", width, channels, 1)
            found |= torch_unit(f"{start}.conv2", f"{start}.bn2", width, width // 32, 3)
            found |= torch_unit(f"{start}.conv3", f"{start}.bn3", width, width, 1)
            if block == 0:
                names = (f"{start}.downsample.0", f"{start}.downsample.1")
                found |= torch_unit(*names, width, channels, 1)
            channels = width
    return found


def efficientnet_lite3():
    found, channels = torch_unit("layer1.0", "layer1.1", 32, 3, 3), 32
    names = ("1.3", "1.4", "2.0", "3.0", "3.1", "4.0", "4.1")
    for name, (size, count, width) in zip(names, LITE3, strict=True):
        for block in range(count):
            start = f"layer{name}.{block}"
            inner, units = channels, [("conv_dw", channels, 1, size)]
            if name != "1.3":
                inner = 6 * channels
                units = [("conv_pw", inner, channels, 1), ("conv_dw", inner, 1, size)]
            last = "conv_pw" if name == "1.3" else "conv_pwl"
            for n, (part, *shape) in enumerate([*units, (last, width, inner, 1)], 1):
                found |= torch_unit(f"{start}.{part}", f"{start}.bn{n}", *shape)
            channels = width
    return found


def midas(name):
    small = "small" in name
    features = (32, 48, 136, 384) if small else (256, 512, 1024, 2048)
    widths = (64, 128, 256, 512) if small else (256,) * 4
    features_of = efficientnet_lite3() if small else resnext101()
    found = {f"pretrained.{key}": shape for key, shape in features_of.items()}

    def layer(name, filters, channels, size):
        found[f"scratch.{name}.weight"] = (filters, channels, size, size)
        found[f"scratch.{name}.bias"] = (filters,)

    for n, (channels, width) in enumerate(zip(features, widths, strict=True), 1):
        found[f"scratch.layer{n}_rn.weight"] = (width, channels, 3, 3)
        for unit in (1, 2):
            for part in (1, 2):
                layer(f"refinenet{n}.resConfUnit{unit}.conv{part}", width, width, 3)
        if small:
            layer(f"refinenet{n}.out_conv", width if n == 1 else width // 2, width, 1)
    layer("output_conv.0", widths[0] // 2, widths[0], 3)
    layer("output_conv.2", 32, widths[0] // 2, 3)
    layer("output_conv.4", 1, 32, 1)
    return found


SOURCES = {
    "deeplabv2": deeplabv2,
    "fcn": fcn,
    "dilation": dilation,
    "crfasrnn": crfasrnn,
    "pspnet": pspnet,
    "segnet": segnet,
    "deconvnet": deconvnet,
    "midas": midas,
}


def shapes(name):
    """Names and shapes of the tensors of a record's file."""
    source, _, network = name.partition("/")
    return SOURCES[source](network)
