"""Tables of all published networks for docs/weights.md, from the catalogue.

python docs/list_weights.py    # writes them between the two comments of the page
"""

import pathlib

import keras_dense as kd

PAGE = pathlib.Path(__file__).with_name("weights.md")
START, END = "<!-- tables of the catalogue -->\n", "<!-- end of the tables -->"
# By builder: how names of the catalogue begin, after the source. The first that fits counts.
FAMILIES = {
    "FCN": ("torchvision/fcn", "mmseg/fcn_", "fcn/"),
    "DeepLabv2": ("deeplabv2/",),
    "DeepLabv3+": ("mmseg/deeplabv3plus", "deeplab/xception", "keras_hub/deeplab_v3_plus"),
    "DeepLabv3": ("torchvision/deeplabv3", "mmseg/deeplabv3", "deeplab/mobilenet"),
    "Dilated context": ("dilation/",),
    "PSPNet": ("mmseg/pspnet", "pspnet/"),
    "UPerNet": ("mmseg/upernet",),
    "LR-ASPP": ("torchvision/lraspp",),
    "Feature pyramid": ("mmseg/fpn",),
    "U-Net": ("mmseg/unet",),
    "SegNet": ("segnet/",),
    "DeconvNet": ("deconvnet/",),
    "SegFormer": ("nvidia/segformer", "mmseg/segformer", "keras_hub/segformer"),
    "CRF as RNN": ("crfasrnn/",),
    "MiDaS (relative inverse depth)": ("midas/",),
    "Depth Anything (relative inverse depth)": ("keras_hub/depth_anything",),
    "Networks of your own": ("smp",),
}


def family(name):
    """The family of networks that a published one belongs to."""
    return next(title for title, starts in FAMILIES.items() if name.startswith(starts))


def row(record):
    scores = ", ".join(f"{value:g} {name}" for name, value in record.scores.items())
    size = f"{record.bytes / 1e6:.0f} MB" if record.bytes else ""
    license = record.license.partition(";")[0]
    cells = (f"`{record.name}`", scores, record.scored_on, size, license)
    return f"| {' | '.join(cells)} |"


def tables():
    """The tables, a family each, as Markdown."""
    records = [kd.weights.info(name) for name in kd.weights.list()]
    lines = []
    for title in FAMILIES:
        lines += [f"### {title}", "", "| name | published score | on | file | license |"]
        lines += ["|---|---|---|---|---|"]
        lines += [row(record) for record in records if family(record.name) == title] + [""]
    return "\n".join(lines)


def main():
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{START}\n{tables()}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
