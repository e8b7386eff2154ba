"""Where the released code is: a link to the file and line of each of its choices."""

REPOSITORY = "https://github.com/MendelXu/ANN/blob/f4eabeb"
_APNB, _AFNB = "models/seg/utils/apnb.py", "models/seg/utils/afnb.py"
_NET, _HYPES = "models/seg/nets/annn.py", "hypes/seg/cityscapes/fs_annn_cityscapes_seg.json"
# A switch of params.yaml: file and line.
_PLACES = {
    "network.options.normalization": (_APNB, 89),
    "network.options.output": (_APNB, 127),
    "network.options.share_query_key": (_APNB, 64),
    "network.options.share_key_value": (_AFNB, 65),
    "network.options.embedding_norm": (_APNB, 62),
    "network.options.scale": (_APNB, 88),
    "network.options.zero_init": (_APNB, 71),
    "network.options.bias": (_APNB, 60),
    "network.aux_channels": (_NET, 29),
    "network.align_corners": (_NET, 42),
    "network.dropout": (_NET, 25),
    "network.backbone": (_HYPES, 88),
    "network.stem": (_HYPES, 88),
    "network.pixels": (_HYPES, 15),
    "train.loss.aux_weight": (_HYPES, 134),
    "train.batch_size": (_HYPES, 20),
    "train.augment.brightness": (_HYPES, 25),
    "train.augment.hflip": (_HYPES, 28),
    "train.augment.scale": (_HYPES, 34),
    "train.augment.aspect": (_HYPES, 35),
    "train.augment.crop": (_HYPES, 39),
}


def link_code(switch: str, words: str, dataset: str) -> str:
    """Return the code's choice in words, linked to its line where that is known.

    Args:
        switch: The key of params.yaml below a profile.
        words: The choice.
        dataset: The profile's dataset; the settings files are known for Cityscapes alone.
    """
    file, line = _PLACES.get(switch, ("", 0))
    if not file or (file == _HYPES and dataset != "cityscapes"):
        return words
    return f"[{words}]({REPOSITORY}/{file}#L{line})"
