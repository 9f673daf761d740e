"""Segmentation losses in plain NumPy float64, and batches to try them on."""

import numpy as np


def batch(mode="multiclass", shape=(2, 5, 7), classes=4, void=True, seed=0):
    """Labels (with void pixels) and logits of a random batch."""
    random = np.random.default_rng(seed)
    channels = 1 if mode == "binary" else classes
    logits = random.normal(size=(*shape, channels)) * 2.0
    if mode == "multilabel":
        labels = random.integers(0, 2, (*shape, channels))
        if void:
            labels[random.random(labels.shape) < 0.2] = 255
    else:
        labels = random.integers(0, 2 if mode == "binary" else classes, shape)
        if void:
            labels[random.random(shape) < 0.2] = 255
    return labels, logits.astype("float32")


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def valid_rows(labels, logits, weight=None):
    """The valid pixels in a row: labels, logits (with a 0 for background when binary), weights."""
    logits = np.asarray(logits, "float64")
    weight = np.ones(logits.shape[:-1]) if weight is None else np.asarray(weight, "float64")
    if labels.shape == logits.shape:  # one row per (pixel, label)
        weight = np.broadcast_to(weight[..., None], logits.shape).ravel()
        labels, logits = labels.ravel(), logits.reshape(-1, 1)
    labels, weight = labels.ravel(), weight.ravel()
    logits = logits.reshape(-1, logits.shape[-1])
    if logits.shape[-1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], -1)
    keep = labels != 255
    return labels[keep], logits[keep], weight[keep]


def cross_entropy(labels, logits, weight=None, class_weight=None, smoothing=0.0, gamma=0.0):
    y, x, w = valid_rows(labels, logits, weight)
    k = x.shape[-1]
    c = np.ones(k) if class_weight is None else np.asarray(class_weight, "float64")
    logp = log_softmax(x)
    t = np.eye(k)[y] * (1 - smoothing) + smoothing / k
    loss = -(c * t * (1 - np.exp(logp)) ** gamma * logp).sum(-1)
    return (w * loss).sum() / (w * c[y]).sum()


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-np.asarray(x, "float64")))


def tversky(p, t, w, alpha, beta, smooth=0.0):
    tp, fp, fn = (w * p * t).sum(), (w * p * (1 - t)).sum(), (w * (1 - p) * t).sum()
    return 1 - (tp + smooth) / (tp + alpha * fp + beta * fn + smooth)


def lovasz(errors, foreground):
    """The definition: the Jaccard loss of every prefix of the sorted errors, differenced."""
    order = np.argsort(-errors, kind="stable")
    errors, foreground = errors[order], foreground[order]
    total = foreground.sum()
    jaccard = [0.0]
    for i in range(1, len(errors) + 1):
        inter = total - foreground[:i].sum()
        union = total + (1 - foreground[:i]).sum()
        jaccard.append(1 - inter / union)
    return (errors * np.diff(jaccard)).sum()


def numeric_gradient(function, x, step=1e-5):
    """Central differences of a scalar function in float64."""
    x = np.asarray(x, "float64")
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        bump = np.zeros_like(x)
        bump[index] = step
        gradient[index] = (function(x + bump) - function(x - bump)) / (2 * step)
    return gradient
