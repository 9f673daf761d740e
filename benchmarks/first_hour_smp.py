"""The first hour with segmentation_models_pytorch (SMP): from two folders to a labeled photograph.

    python benchmarks/first_hour_smp.py images masks 11 --void 11 --photograph p.png --minutes 5

The shortest script that we could write by SMP's quickstart and its notebook on CamVid: it reads
images and masks, trains a U-Net on MobileNetV2, scores it on every fifth image, labels a photograph
and stores the model. Prints the seconds of each step, and how many lines of code lie between the
two marks below. SMP must be installed; `--weights imagenet` downloads the weights of its encoder.
"""

# ruff: noqa: E402
import argparse
import pathlib
import time

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("images", type=pathlib.Path)
parser.add_argument("masks", type=pathlib.Path)
parser.add_argument("classes", type=int)
parser.add_argument("--void", type=int, default=255)
parser.add_argument("--photograph", required=True)
parser.add_argument("--minutes", type=float, default=5)
parser.add_argument("--weights", help="of the encoder, for SMP")
args = parser.parse_args()
began, seconds = time.perf_counter(), {}


def step(name):
    global began
    seconds[name], began = time.perf_counter() - began, time.perf_counter()


# begin
import numpy as np
import segmentation_models_pytorch as smp
import torch
from PIL import Image

step("import")
ENCODER = "mobilenet_v2"
# Of smp.encoders.get_preprocessing_fn(ENCODER), which asks for the network.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def tensor(image):
    prepared = (image / 255 - MEAN) / DEVIATION
    return torch.from_numpy(prepared.transpose(2, 0, 1)).float()


class Folder(torch.utils.data.Dataset):
    def __init__(self, paths, crop=None):
        self.paths, self.crop = paths, crop

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        path = self.paths[index]
        image = np.array(Image.open(path).convert("RGB"))
        mask = np.array(Image.open(args.masks / f"{path.stem}.png")).astype("int64")
        if self.crop:
            top, left = (np.random.randint(n - self.crop + 1) for n in mask.shape)
            place = slice(top, top + self.crop), slice(left, left + self.crop)
            image, mask = image[place], mask[place]
            if np.random.rand() < 0.5:
                image, mask = image[:, ::-1], mask[:, ::-1]
        return tensor(image), torch.from_numpy(mask.copy())


paths = sorted(args.images.iterdir())
held = paths[::5]
train = Folder([path for path in paths if path not in held], crop=320)
batches = torch.utils.data.DataLoader(train, batch_size=4, shuffle=True, drop_last=True)
model = smp.Unet(ENCODER, encoder_weights=args.weights, in_channels=3, classes=args.classes)
loss_of = torch.nn.CrossEntropyLoss(ignore_index=args.void)
optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
step("model")
until, steps = time.perf_counter() + 60 * args.minutes, 0
while time.perf_counter() < until:
    for images, masks in batches:
        loss = loss_of(model(images), masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
        if time.perf_counter() > until:
            break
step("train")
model.eval()
counts = []
with torch.inference_mode():
    for images, masks in torch.utils.data.DataLoader(Folder(held)):
        labels = model(images).argmax(1)
        settings = dict(mode="multiclass", num_classes=args.classes, ignore_index=args.void)
        counts.append(smp.metrics.get_stats(labels, masks, **settings))
totals = [torch.cat(parts).sum(0, keepdim=True) for parts in zip(*counts, strict=True)]
score = smp.metrics.iou_score(*totals, reduction="macro")
step("score")
image = np.array(Image.open(args.photograph).convert("RGB"))
with torch.inference_mode():
    labels = model(tensor(image)[None]).argmax(1)[0].numpy()
Image.fromarray(labels.astype("uint8")).save("labels.png")
model.save_pretrained("smp_model")
step("photograph")
# end
own = pathlib.Path(__file__).read_text("utf-8").split("\n# begin\n")[1].split("\n# end\n")[0]
lines = [x for x in own.splitlines() if x.strip() and "step(" not in x and not x.startswith("#")]
print(f"{len(lines)} lines, {steps} steps, mean IoU {float(score):.3f} on {len(held)} images")
print(", ".join(f"{name} {value:.1f} s" for name, value in seconds.items()))
