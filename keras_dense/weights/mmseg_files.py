"""The files of MMSegmentation: score, size in MiB, name without ".pth".

Scores are mean IoU, or the Dice score of vessels, in percent at a single scale: what the project's
own list gives for the file. Sizes are computed from the network. For each structure, backbone and
data set this is the longest schedule at the usual size of crops; another schedule, crops of 769, or
the plain stem ("b" behind the depth) only where their score is higher.
"""

import dataclasses
import re

ROOT = "https://download.openmmlab.com/mmsegmentation/v0.5"

_FILES = """
66.97 189.1 fcn_r50-d8_512x512_40k_voc12aug_20200613_161222-5e2dbf40
67.08 189.1 fcn_r50-d8_512x512_20k_voc12aug_20200617_010715-52dc5306
69.91 261.8 fcn_r101-d8_512x512_40k_voc12aug_20200613_161240-4c8bcefd
71.16 261.8 fcn_r101-d8_512x512_20k_voc12aug_20200617_010842-0bb4e798
36.1 189.5 fcn_r50-d8_512x512_160k_ade20k_20200615_100713-4edbc3b4
39.91 262.2 fcn_r101-d8_512x512_160k_ade20k_20200615_105816-fd192bd5
73.61 189.1 fcn_r50-d8_512x1024_80k_cityscapes_20200606_113019-03aa804d
75.13 261.8 fcn_r101-d8_512x1024_80k_cityscapes_20200606_113038-3fb937eb
75.45 261.8 fcn_r101-d8_512x1024_40k_cityscapes_20200604_181852-a883d3a1
75.52 261.8 fcn_r101-d8_769x769_80k_cityscapes_20200606_214354-45cbac68
71.11 49.0 fcn_r18-d8_512x1024_80k_cityscapes_20201225_021327-6c50f8b4
75.65 189.0 fcn_r50b-d8_512x1024_80k_cityscapes_20201225_094221-82957416
77.37 261.7 fcn_r101b-d8_512x1024_80k_cityscapes_20201226_160213-4543858f
77.29 187.1 pspnet_r50-d8_512x512_40k_voc12aug_20200613_161222-ae9c1b8c
78.52 259.8 pspnet_r101-d8_512x512_40k_voc12aug_20200613_161222-bc933b18
42.48 187.5 pspnet_r50-d8_512x512_160k_ade20k_20200615_184358-1890b0bd
44.39 260.2 pspnet_r101-d8_512x512_160k_ade20k_20200615_100650-967c316f
78.55 187.1 pspnet_r50-d8_512x1024_80k_cityscapes_20200606_112131-2376f12b
79.59 187.1 pspnet_r50-d8_769x769_80k_cityscapes_20200606_210121-5ccf03dd
79.76 259.8 pspnet_r101-d8_512x1024_80k_cityscapes_20200606_112211-e1e1100f
79.77 259.8 pspnet_r101-d8_769x769_80k_cityscapes_20200606_225055-dba412fa
74.87 48.9 pspnet_r18-d8_512x1024_80k_cityscapes_20201225_021458-09ffa746
75.9 48.9 pspnet_r18-d8_769x769_80k_cityscapes_20201225_021458-3deefc62
48.62 48.9 pspnet_r18-d8_512x512_80k_loveda_20211105_052100-b97697f1
50.46 187.1 pspnet_r50-d8_512x512_80k_loveda_20211104_155728-88610f9f
51.86 259.8 pspnet_r101-d8_512x512_80k_loveda_20211104_153212-1c06c6a8
77.09 48.9 pspnet_r18-d8_4x4_512x512_80k_potsdam_20211220_125612-7cd046e1
78.12 187.1 pspnet_r50-d8_4x4_512x512_80k_potsdam_20211219_043541-2dd5fe67
78.62 259.8 pspnet_r101-d8_4x4_512x512_80k_potsdam_20211220_125612-aed036c4
71.46 48.9 pspnet_r18-d8_4x4_512x512_80k_vaihingen_20211228_160355-52a8a6f6
72.36 187.1 pspnet_r50-d8_4x4_512x512_80k_vaihingen_20211228_160355-382f8f5b
72.61 259.8 pspnet_r101-d8_4x4_512x512_80k_vaihingen_20211231_230806-8eba0a09
60.22 48.9 pspnet_r18-d8_4x4_896x896_80k_isaid_20220110_180526-e84c0b6a
65.36 187.1 pspnet_r50-d8_4x4_896x896_80k_isaid_20220110_180629-1f21dc32
77.68 260.1 deeplabv3_r50-d8_512x512_40k_voc12aug_20200613_161546-2ae96e7e
77.92 332.8 deeplabv3_r101-d8_512x512_40k_voc12aug_20200613_161432-0017d784
78.7 332.8 deeplabv3_r101-d8_512x512_20k_voc12aug_20200617_010932-8d13832f
42.66 260.5 deeplabv3_r50-d8_512x512_160k_ade20k_20200615_123227-5d0ee427
45 333.2 deeplabv3_r101-d8_512x512_160k_ade20k_20200615_105816-b1f72b3b
79.32 260.1 deeplabv3_r50-d8_512x1024_80k_cityscapes_20200606_113404-b92cfdd4
79.89 260.1 deeplabv3_r50-d8_769x769_80k_cityscapes_20200606_221338-788d6228
80.2 332.8 deeplabv3_r101-d8_512x1024_80k_cityscapes_20200606_113503-9e428899
76.7 53.4 deeplabv3_r18-d8_512x1024_80k_cityscapes_20201225_021506-23dffbe2
76.81 166.6 deeplabv3plus_r50-d8_512x512_40k_voc12aug_20200613_161759-e1b43aa9
78.62 239.3 deeplabv3plus_r101-d8_512x512_40k_voc12aug_20200613_205333-faf03387
43.95 167.0 deeplabv3plus_r50-d8_512x512_160k_ade20k_20200615_124504-6135c7e0
45.47 239.7 deeplabv3plus_r101-d8_512x512_160k_ade20k_20200615_123232-38ed86bb
80.09 166.6 deeplabv3plus_r50-d8_512x1024_80k_cityscapes_20200606_114049-f9fb496d
80.97 239.3 deeplabv3plus_r101-d8_512x1024_80k_cityscapes_20200606_114143-068fcfe9
76.89 47.7 deeplabv3plus_r18-d8_512x1024_80k_cityscapes_20201226_080942-cff257fe
80.28 166.6 deeplabv3plus_r50b-d8_512x1024_80k_cityscapes_20201225_213645-a97e4e43
50.28 47.7 deeplabv3plus_r18-d8_512x512_80k_loveda_20211104_132800-ce0fa0ca
50.99 166.6 deeplabv3plus_r50-d8_512x512_80k_loveda_20211105_080442-f0720392
51.47 239.3 deeplabv3plus_r101-d8_512x512_80k_loveda_20211105_110759-4c1f297e
77.09 47.7 deeplabv3plus_r18-d8_512x512_80k_potsdam_20211219_020601-75fd5bc3
78.33 166.6 deeplabv3plus_r50-d8_512x512_80k_potsdam_20211219_031508-7e7a2b24
78.7 239.3 deeplabv3plus_r101-d8_512x512_80k_potsdam_20211219_031508-8b112708
72.5 47.7 deeplabv3plus_r18-d8_4x4_512x512_80k_vaihingen_20211231_230805-7626a263
73.97 166.6 deeplabv3plus_r50-d8_4x4_512x512_80k_vaihingen_20211231_230816-5040938d
73.06 239.3 deeplabv3plus_r101-d8_4x4_512x512_80k_vaihingen_20211231_230816-8a095afa
61.35 47.7 deeplabv3plus_r18-d8_4x4_896x896_80k_isaid_20220110_180526-7059991d
67.06 166.6 deeplabv3plus_r50-d8_4x4_896x896_80k_isaid_20220110_180526-598be439
70.23 52.2 pspnet_m-v2-d8_512x1024_80k_cityscapes_20200825_124817-19e81d51
29.68 52.5 pspnet_m-v2-d8_512x512_160k_ade20k_20200825_214953-f5942f7a
73.84 71.2 deeplabv3_m-v2-d8_512x1024_80k_cityscapes_20200825_124836-bef03590
34.08 71.5 deeplabv3_m-v2-d8_512x512_160k_ade20k_20200825_223255-63986343
75.2 58.4 deeplabv3plus_m-v2-d8_512x1024_80k_cityscapes_20200825_124836-d256dd4b
34.02 58.8 deeplabv3plus_m-v2-d8_512x512_160k_ade20k_20200825_223255-465a01d4
75.92 253.7 upernet_r50_512x512_40k_voc12aug_20200613_162257-ca9bcc6b
77.43 326.4 upernet_r101_512x512_40k_voc12aug_20200613_163549-e26476ac
42.05 254.1 upernet_r50_512x512_160k_ade20k_20200615_184328-8534de8d
43.82 326.8 upernet_r101_512x512_160k_ade20k_20200615_161951-91b32684
78.19 253.7 upernet_r50_512x1024_80k_cityscapes_20200607_052207-848beca8
79.39 253.7 upernet_r50_769x769_80k_cityscapes_20200607_005107-82ae7d15
79.4 326.4 upernet_r101_512x1024_80k_cityscapes_20200607_002403-f05f2345
80.1 326.4 upernet_r101_769x769_80k_cityscapes_20200607_001014-082fc334
37.49 109.0 fpn_r50_512x512_160k_ade20k_20200718_131734-5b5a6ab9
39.35 181.9 fpn_r101_512x512_160k_ade20k_20200718_131734-306b5004
74.52 109.0 fpn_r50_512x1024_80k_cityscapes_20200717_021437-94018a0d
75.8 181.7 fpn_r101_512x1024_80k_cityscapes_20200717_012416-c5800d4c
69.1 110.9 fcn_unet_s5-d16_4x4_512x1024_160k_cityscapes_20211210_145204-6860854e
78.67 110.9 fcn_unet_s5-d16_64x64_40k_drive_20201223_191051-5daf6d3b
79.32 110.9 fcn_unet_s5-d16_ce-1.0-dice-3.0_64x64_40k_drive_20211210_201820-785de5c2
78.62 110.9 pspnet_unet_s5-d16_64x64_40k_drive_20201227_181818-aac73387
79.42 110.9 pspnet_unet_s5-d16_ce-1.0-dice-3.0_64x64_40k_drive_20211210_201821-22b3e3ba
78.69 111.0 deeplabv3_unet_s5-d16_64x64_40k_drive_20201226_094047-0671ff20
79.56 111.0 deeplabv3_unet_s5-d16_ce-1.0-dice-3.0_64x64_40k_drive_20211210_201825-6bf0efd7
81.02 110.9 fcn_unet_s5-d16_128x128_40k_stare_20201223_191051-7d77e78b
82.7 110.9 fcn_unet_s5-d16_ce-1.0-dice-3.0_128x128_40k_stare_20211210_201821-f75705a9
81.22 110.9 pspnet_unet_s5-d16_128x128_40k_stare_20201227_181818-3c2923c4
82.84 110.9 pspnet_unet_s5-d16_ce-1.0-dice-3.0_128x128_40k_stare_20211210_201823-f1063ef7
80.93 111.0 deeplabv3_unet_s5-d16_128x128_40k_stare_20201226_094047-93dcb93c
82.71 111.0 deeplabv3_unet_s5-d16_ce-1.0-dice-3.0_128x128_40k_stare_20211210_201825-21db614c
80.24 110.9 fcn_unet_s5-d16_128x128_40k_chase_db1_20201223_191051-11543527
80.4 110.9 fcn_unet_s5-d16_ce-1.0-dice-3.0_128x128_40k_chase-db1_20211210_201821-1c4eb7cf
80.36 110.9 pspnet_unet_s5-d16_128x128_40k_chase_db1_20201227_181818-68d4e609
80.28 110.9 pspnet_unet_s5-d16_ce-1.0-dice-3.0_128x128_40k_chase-db1_20211210_201823-c0802c4d
80.47 111.0 deeplabv3_unet_s5-d16_128x128_40k_chase_db1_20201226_094047-4c5aefa3
80.37 111.0 deeplabv3_unet_s5-d16_ce-1.0-dice-3.0_128x128_40k_chase-db1_20211210_201825-4ef29df5
79.45 110.9 fcn_unet_s5-d16_256x256_40k_hrf_20201223_173724-d89cf1ed
80.87 110.9 fcn_unet_s5-d16_ce-1.0-dice-3.0_256x256_40k_hrf_20211210_201821-c314da8a
80.07 110.9 pspnet_unet_s5-d16_256x256_40k_hrf_20201227_181818-fdb7e29b
80.96 110.9 pspnet_unet_s5-d16_ce-1.0-dice-3.0_256x256_40k_hrf_20211210_201823-53d492fa
80.21 111.0 deeplabv3_unet_s5-d16_256x256_40k_hrf_20201226_094047-3a1fdf85
80.71 111.0 deeplabv3_unet_s5-d16_ce-1.0-dice-3.0_256x256_40k_hrf_20211210_202032-59daf7a4
"""

_STEM = re.compile(
    r"(?P<structure>[a-z0-9]+)_(?:(?P<backbone>r\d+b?|m-v2)(?:-d8)?|unet_s5-d16)_"
    r"(?P<loss>ce-1\.0-dice-3\.0_)?(?:4x4_)?(?P<crop>\d+x\d+)_(?P<schedule>\d+k)_"
    r"(?P<data>[a-z0-9_-]+)_\d{8}_\d{6}-(?P<hash>[0-9a-f]{8})"
)
_BACKBONES = {None: "unet", "m-v2": "mobilenet_v2"}
# The schedule of the file without a suffix.
_USUAL = {"voc": "40k", "ade20k": "160k"}


@dataclasses.dataclass(frozen=True)
class File:
    """A row of the table.

    Attributes:
        stem: str, the name of the file without ".pth".
        score: float, percent.
        size: float, MiB.
        structure: str, such as "pspnet".
        backbone: str, "r18", "r50", "r101", also with "b" for a plain stem; "mobilenet_v2"; or
            "unet".
        data: str, a key of `mmseg_data.DATA`.
        crop: str, the size of crops in training, such as "512x1024".
        schedule: str, thousands of steps, such as "80k".
        dice: bool, whether the loss was cross entropy plus three times Dice.
    """

    stem: str
    score: float
    size: float
    structure: str
    backbone: str
    data: str
    crop: str
    schedule: str
    dice: bool

    @property
    def aligned(self) -> bool:
        """Whether the corners of all maps are aligned."""
        return self.crop == "769x769"

    @property
    def name(self) -> str:
        """The name in the catalogue, without the source."""
        parts = [self.structure, self.backbone, self.data]
        if self.backbone == "unet":
            parts[:2] = ["unet", self.structure]
        if self.aligned:
            parts.append("769")
        elif self.data in ("voc", "ade20k", "cityscapes") and self.backbone != "unet":
            parts += [self.schedule] * (self.schedule != _USUAL.get(self.data, "80k"))
        return "_".join(parts + ["dice"] * self.dice)

    @property
    def url(self) -> str:
        """The address: folders of the method and of the training, which the file is named after."""
        method = {"fpn": "sem_fpn"}.get(self.structure, self.structure)
        if self.backbone in ("unet", "mobilenet_v2"):
            method = self.backbone
        training = re.sub(r"_\d{8}_\d{6}-[0-9a-f]{8}$", "", self.stem)
        return f"{ROOT}/{method}/{training}/{self.stem}.pth"


def _file(row: str) -> File:
    score, size, stem = row.split()
    match = _STEM.fullmatch(stem)
    if match is None:
        raise ValueError(f"The table must hold names of MMSegmentation's files. Received: {stem!r}")
    data = match["data"].replace("-", "_")
    return File(
        stem,
        float(score),
        float(size),
        structure=match["structure"],
        backbone=_BACKBONES.get(match["backbone"], match["backbone"]),
        data="voc" if data == "voc12aug" else data,
        crop=match["crop"],
        schedule=match["schedule"],
        dice=match["loss"] is not None,
    )


FILES = tuple(_file(row) for row in _FILES.strip().splitlines())
