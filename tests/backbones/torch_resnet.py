"""A ResNet in PyTorch with the names of torchvision: what the networks here must equal."""

import torch
from torch import nn


def conv(inputs, filters, size, stride=1, groups=1):
    return nn.Conv2d(inputs, filters, size, stride, size // 2, groups=groups, bias=False)


class Block(nn.Module):
    def __init__(self, inputs, filters, stride, width, groups, basic):
        super().__init__()
        outputs = filters if basic else 4 * filters
        if basic:
            self.conv1, self.conv2 = conv(inputs, filters, 3, stride), conv(filters, filters, 3)
            self.bn1, self.bn2 = nn.BatchNorm2d(filters), nn.BatchNorm2d(filters)
        else:
            inner = int(filters * (width / 64)) * groups
            self.conv1 = conv(inputs, inner, 1)
            self.conv2 = conv(inner, inner, 3, stride, groups)
            self.conv3 = conv(inner, outputs, 1)
            self.bn1, self.bn2 = nn.BatchNorm2d(inner), nn.BatchNorm2d(inner)
            self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs)
            )
        self.basic = basic

    def forward(self, x):
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        if not self.basic:
            y = self.bn3(self.conv3(torch.relu(y)))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    def __init__(self, counts, basic, width=64, groups=1, deep=False, classes=7):
        super().__init__()
        if deep:
            row = []
            for inputs, filters, stride in ((3, 32, 2), (32, 32, 1), (32, 64, 1)):
                row += [conv(inputs, filters, 3, stride), nn.BatchNorm2d(filters), nn.ReLU()]
            self.stem = nn.Sequential(*row)
        else:
            self.conv1, self.bn1 = conv(3, 64, 7, 2), nn.BatchNorm2d(64)
        inputs = 64
        for stage, (count, filters) in enumerate(zip(counts, (64, 128, 256, 512), strict=True), 1):
            blocks = []
            for i in range(count):
                stride = 2 if stage > 1 and i == 0 else 1
                blocks.append(Block(inputs, filters, stride, width, groups, basic))
                inputs = filters if basic else 4 * filters
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        self.fc = nn.Linear(inputs, classes)
        self.deep = deep

    def features(self, x):
        x = self.stem(x) if self.deep else torch.relu(self.bn1(self.conv1(x)))
        found = {"P1": x}
        x = nn.functional.max_pool2d(x, 3, 2, 1)
        for n in range(1, 5):
            x = getattr(self, f"layer{n}")(x)
            found[f"P{n + 1}"] = x
        return found

    def forward(self, x):
        return torch.softmax(self.fc(self.features(x)["P5"].mean((2, 3))), -1)


def randomized(net, seed=0):
    """Weights as after training: scales and statistics of batch norms are not the identity."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(shape, low, high):
        return low + (high - low) * torch.rand(shape, generator=generator)

    with torch.no_grad():
        for name, value in net.state_dict().items():
            if name.endswith("running_var"):
                value.copy_(uniform(value.shape, 0.5, 1.5))
            elif value.ndim == 1 and name.endswith("weight"):
                value.copy_(uniform(value.shape, 0.5, 1.0))
            elif value.ndim == 1:
                value.copy_(0.2 * torch.randn(value.shape, generator=generator))
            elif value.ndim > 1:
                scale = (2 / value[0].numel()) ** 0.5
                value.copy_(scale * torch.randn(value.shape, generator=generator))
    return net.eval()


def dilated(net, how):
    """The last two stages without strides, as torchvision ("before") or SMP ("after") does it."""
    for stage, rate in ((net.layer3, 2), (net.layer4, 4)):
        for i, block in enumerate(stage):
            first = how == "before" and i == 0
            for module in block.modules():
                if isinstance(module, nn.Conv2d):
                    own = rate // 2 if first else rate
                    module.stride, module.dilation = (1, 1), (own, own)
                    module.padding = tuple(k // 2 * own for k in module.kernel_size)
    return net


def arrays(net):
    return {name: value.numpy() for name, value in net.state_dict().items()}


def run(function, x):
    """Maps of a function of torch for images `(B, H, W, C)`."""
    with torch.no_grad():
        found = function(torch.from_numpy(x.transpose(0, 3, 1, 2)))
    if not isinstance(found, dict):
        return found.numpy()
    return {name: value.numpy().transpose(0, 2, 3, 1) for name, value in found.items()}
