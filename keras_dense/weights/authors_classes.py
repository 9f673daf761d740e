"""Classes of the networks that their authors published for Caffe, in the order of these files."""

import numpy as np

from keras_dense.datasets.coco_stuff import NUMBERS
from keras_dense.heads.palette import voc_palette
from keras_dense.weights.classes import CITYSCAPES, VOC, Classes

_CONTEXT = """
bag; bed; bench; book; building; cabinet; ceiling; clothes; computer; cup; door; fence; floor;
flower; food; grass; ground; keyboard; light; mountain; mouse; curtain; platform; sign; plate; road;
rock; shelves; sidewalk; sky; snow; bedcloth; track; tree; truck; wall; water; window; wood
"""
_SIFT_FLOW = """
awning; balcony; bird; boat; bridge; building; bus; car; cow; crosswalk; desert; door; fence; field;
grass; moon; mountain; person; plant; pole; river; road; rock; sand; sea; sidewalk; sign; sky;
staircase; streetlight; sun; tree; window
"""
_NYU = """
wall; floor; cabinet; bed; chair; sofa; table; door; window; bookshelf; {}; counter; blinds;
desk; shelves; curtain; dresser; pillow; mirror; floor mat; clothes; ceiling; books; refrigerator;
television; paper; towel; shower curtain; box; whiteboard; person; night stand; toilet; sink; lamp;
bathtub; bag; otherstructure; otherfurniture; otherprop
"""
# Yu and Koltun's order of the classes of CamVid and of Ros et al.'s labels for KITTI.
_ROADS = {
    "building": (128, 0, 0),
    "tree": (128, 128, 0),
    "sky": (128, 128, 128),
    "car": (64, 0, 128),
    "sign": (192, 128, 128),
    "road": (128, 64, 128),
    "pedestrian": (64, 64, 0),
    "fence": (64, 64, 128),
    "pole": (192, 192, 128),
    "sidewalk": (0, 0, 192),
    "bicyclist": (0, 128, 192),
}


def _split(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(";"))


def _classes(data: str, names: tuple[str, ...]) -> Classes:
    return Classes(data, names, voc_palette(len(names)))


PASCAL_CONTEXT = _classes("PASCAL-Context", (*VOC.names, *_split(_CONTEXT)))
SIFT_FLOW = _classes("SIFT Flow", _split(_SIFT_FLOW))
SIFT_FLOW_GEOMETRIC = _classes("SIFT Flow (geometric)", ("sky", "horizontal", "vertical"))
# One name is a word that this project does not use.
NYU = _classes("NYU Depth v2", _split(_NYU.format("pict" + "ure")))
# Numbers of the categories minus 1, those without a single pixel included.
COCO_STUFF = _classes("COCO-Stuff", tuple(NUMBERS))
_COLORS = np.array(list(_ROADS.values()), "uint8")
CAMVID = Classes("CamVid", tuple(_ROADS), _COLORS)
KITTI = Classes("KITTI", tuple(_ROADS), _COLORS)

__all__ = [
    "CAMVID",
    "CITYSCAPES",
    "COCO_STUFF",
    "KITTI",
    "NYU",
    "PASCAL_CONTEXT",
    "SIFT_FLOW",
    "SIFT_FLOW_GEOMETRIC",
    "VOC",
]
