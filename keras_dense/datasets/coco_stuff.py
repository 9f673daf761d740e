"""COCO-Stuff: the images of COCO with 80 kinds of things and 91 kinds of stuff."""

from keras_dense import _check
from keras_dense._types import PathLike
from keras_dense.datasets.folder import SegmentationFiles, folder
from keras_dense.datasets.layouts import first_existing

# By their numbers in COCO, from 1; those in parentheses occur in no image.
NAMES = """
person; bicycle; car; motorcycle; airplane; bus; train; truck; boat; traffic light; fire hydrant;
(street sign); stop sign; parking meter; bench; bird; cat; dog; horse; sheep; cow; elephant; bear;
zebra; giraffe; (hat); backpack; umbrella; (shoe); (eye glasses); handbag; tie; suitcase; frisbee;
skis; snowboard; sports ball; kite; baseball bat; baseball glove; skateboard; surfboard;
tennis racket; bottle; (plate); wine glass; cup; fork; knife; spoon; bowl; banana; apple; sandwich;
orange; broccoli; carrot; hot dog; pizza; donut; cake; chair; couch; potted plant; bed; (mirror);
dining table; (window); (desk); toilet; (door); tv; laptop; mouse; remote; keyboard; cell phone;
microwave; oven; toaster; sink; refrigerator; (blender); book; clock; vase; scissors; teddy bear;
hair drier; toothbrush; (hair brush); banner; blanket; branch; bridge; building-other; bush;
cabinet; cage; cardboard; carpet; ceiling-other; ceiling-tile; cloth; clothes; clouds; counter;
cupboard; curtain; desk-stuff; dirt; door-stuff; fence; floor-marble; floor-other; floor-stone;
floor-tile; floor-wood; flower; fog; food-other; fruit; furniture-other; grass; gravel;
ground-other; hill; house; leaves; light; mat; metal; mirror-stuff; moss; mountain; mud; napkin;
net; paper; pavement; pillow; plant-other; plastic; platform; playingfield; railing; railroad;
river; road; rock; roof; rug; salad; sand; sea; shelf; sky-other; skyscraper; snow; solid-other;
stairs; stone; straw; structural-other; table; tent; textile-other; towel; tree; vegetable;
wall-brick; wall-concrete; wall-other; wall-panel; wall-stone; wall-tile; wall-wood; water-other;
waterdrops; window-blind; window-other; wood
"""
# Masks contain that number minus 1; 255 is void.
NUMBERS = [name.strip() for name in NAMES.split(";")]
CLASSES = [name for name in NUMBERS if not name.startswith("(")]
SPLITS = {"train": "train2017", "val": "val2017", "train2017": "train2017", "val2017": "val2017"}


def coco_stuff(
    root: PathLike, split: str = "train", *, upright: bool | None = None
) -> SegmentationFiles:
    """Read COCO-Stuff of 2017 in 171 classes, 80 kinds of things and 91 kinds of stuff.

    Layout: the images of COCO in `train2017/` and `val2017/`, or in `images/train2017/` and so on;
    the masks of `stuffthingmaps_trainval2017.zip` (PNG, the number of the category minus 1, 255 for
    void) in folders of the same names in `annotations/`, `stuffthingmaps/` or
    `stuffthingmaps_trainval2017/`.

    Args:
        root: path.
        split: `"train"` or `"val"`.
        upright: bool or `None`, see `folder`.

    Returns:
        A data set, see `folder`.

    Raises:
        FileNotFoundError: if a folder, or one of a pair of files, is missing.
        ValueError: if `split` is unknown. Reading a sample raises `ValueError` naming the file if
            it is corrupt, has another size, or a label that is not a category.

    Reference: Caesar, Uijlings, Ferrari, "COCO-Stuff: thing and stuff classes in context",
        CVPR 2018.

    Example:

    ```python
    val = kd.datasets.coco_stuff("data/coco", "val")
    ```
    """
    part = SPLITS[_check.choice(split, "split", SPLITS)]
    homes = ("stuffthingmaps", "stuffthingmaps_trainval2017", "annotations")
    return folder(
        first_existing(root, "coco_stuff", f"images/{part}", part),
        first_existing(root, "coco_stuff", *(f"{home}/{part}" for home in homes)),
        class_names=CLASSES,
        remap={NUMBERS.index(name): index for index, name in enumerate(CLASSES)},
        encoding="index",
        upright=upright,
        name="coco_stuff",
        split=split,
    )
