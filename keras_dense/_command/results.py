"""Files of the results of a run, and those that exist already."""

import hashlib
import json

import keras

from keras_dense._command.files import keep_apart, make_folder, same
from keras_dense._command.load import Unusable
from keras_dense._command.marks import mark_of
from keras_dense.inference.state import digest


class Results:
    """The files of a run: one for each image and head, and overlays.

    Args:
        args: of the command.
        model, heads: the model and its heads.
        settings: dict of the arguments that change results.

    Attributes:
        mark: dict that is written into every result.
    """

    def __init__(self, args, model, heads, settings):
        self._out, self._overlay, self._overwrite = args.out, args.overlay, args.overwrite
        self._heads = heads
        configs = {k: keras.saving.serialize_keras_object(head) for k, head in heads.items()}
        self.mark = {
            "model": digest(model),
            "heads": hashlib.blake2b(
                json.dumps(configs, sort_keys=True).encode(), digest_size=8
            ).hexdigest(),
            "settings": json.loads(json.dumps(settings)),
        }

    def result(self, key, stem):
        """The file of one head's result."""
        return self._folder(key) / f"{stem}{self._heads[key].suffix}"

    def overlay(self, key, stem):
        """The file of the drawing over the image."""
        return self._folder(key) / "overlay" / f"{stem}.png"

    def _folder(self, key):
        return self._out / key if len(self._heads) > 1 else self._out

    def _targets(self, stem):
        found = [self.result(key, stem) for key in self._heads]
        return found + [self.overlay(key, stem) for key in self._heads if self._overlay]

    def prepare(self, files, sources):
        """Make the folders, and find the images that are left to do.

        Args:
            files: dict of images by their stem.
            sources: other inputs: folders of images, the model, its heads.

        Returns:
            The images that are left, by their stem; the number of finished ones; the number of
            those left with a result from before they were changed.

        Raises:
            Unusable: if results would overwrite an input, a file that is no result of this program,
                or (without --overwrite) results of another run.
        """
        targets = {stem: self._targets(stem) for stem in files}
        folders = {path.parent for paths in targets.values() for path in paths}
        for folder in folders:
            for source in sources:
                if source.is_dir() and same(folder, source):
                    raise Unusable(
                        f"--out must not be a folder of the images, {str(source)!r}: results "
                        "would lie among them. Give another one"
                    )
        listed = [path for paths in targets.values() for path in paths]
        keep_apart(listed, [*files.values(), *sources])
        found = {path: mark_of(path) for path in listed if path.exists()}
        self._check_found(found)
        # Everything is checked before anything is made.
        if not all([make_folder(folder) for folder in sorted(folders)]):
            _check_case(files)
        done, old = set(), set()
        for stem, paths in targets.items():
            there = [path for path in paths if path in found]
            if not there or self._overwrite:
                continue
            changed = files[stem].stat().st_mtime_ns
            if changed > min(path.stat().st_mtime_ns for path in there):
                old.add(stem)
            elif len(there) == len(paths):
                done.add(stem)
        return {s: f for s, f in files.items() if s not in done}, len(done), len(old)

    def _check_found(self, found):
        foreign = [path for path, mark in found.items() if not isinstance(mark, dict)]
        if foreign:
            raise Unusable(
                f"{len(foreign)} files are there that are no results of this command, such as "
                f"{str(foreign[0])!r}; they are never replaced. Give another --out, or move them"
            )
        if self._overwrite:
            return
        for path, mark in found.items():
            differs = [name for name in self.mark if mark.get(name) != self.mark[name]]
            if differs:
                raise Unusable(
                    f"{str(path)!r} is the result of another run, with other {', '.join(differs)}; "
                    "give another --out, or --overwrite to replace such results"
                )


def _check_case(files):
    """Raise if two results would share a file because names there do not differ by case."""
    folded = {}
    for stem, file in files.items():
        other = folded.setdefault(stem.casefold(), file)
        if other is not file:
            raise Unusable(
                f"{str(other)!r} and {str(file)!r} would be written to one file: the folder of "
                "--out does not tell names by case"
            )
