"""Files of the results of a run, and those that exist already."""

import contextlib
import hashlib
import json

import keras

from keras_dense._command.files import keep_apart, make_folder, same
from keras_dense._command.load import Unusable
from keras_dense._command.marks import mark_of
from keras_dense._files import remove_left
from keras_dense._lock import lock
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
        self._marks = {}
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

    def targets(self, stem):
        """All files of one image."""
        found = [self.result(key, stem) for key in self._heads]
        return found + [self.overlay(key, stem) for key in self._heads if self._overlay]

    def check(self, files, sources):
        """Check that results may be written; makes nothing.

        Args:
            files: dict of images by their stem.
            sources: other inputs: folders of images, the model, its heads.

        Raises:
            Unusable: if results would overwrite an input, a file that is no result of this program,
                or (without --overwrite) results of another run.
        """
        targets = [path for stem in files for path in self.targets(stem)]
        for folder in {path.parent for path in targets} | {self._out}:
            for source in sources:
                if source.is_dir() and same(folder, source):
                    raise Unusable(
                        f"--out must not be a folder of the images, {str(source)!r}: results "
                        "would lie among them. Give another one"
                    )
        keep_apart(targets, [*files.values(), *sources])
        self._check_found({path: self._mark_of(path) for path in targets if path.exists()})

    def _mark_of(self, path):
        """The mark of a file, which is read again only if the file was changed."""
        facts = path.stat()
        state = facts.st_mtime_ns, facts.st_size
        if self._marks.get(path, (None,))[0] != state:
            self._marks[path] = state, mark_of(path)
        return self._marks[path][1]

    @contextlib.contextmanager
    def locked(self, files):
        """Make the folders, and keep other runs out of them for the body of a `with` statement.

        Raises:
            Unusable: if they cannot be written to, another run is there, or names differ by case
                only where the disk does not tell them apart.
        """
        folders = {path.parent for stem in files for path in self.targets(stem)} | {self._out}
        if not all([make_folder(folder) for folder in sorted(folders)]):
            check_case(files)
        try:
            with lock(self._out / ".lock", self._out):
                # Also where nothing is left to write.
                for folder in folders:
                    remove_left(folder)
                yield
        except BlockingIOError as error:
            raise Unusable(str(error)) from error

    def waiting(self, files):
        """The images that are left to do.

        Returns:
            Those images, by their stem; the number of finished ones; the number of those left with
            a result from before they were changed.

        Raises:
            Unusable: see `check`; another run may have ended in the meantime.
        """
        self.check(files, ())
        states = {stem: self.state(stem, file) for stem, file in files.items()}
        left = {stem: file for stem, file in files.items() if states[stem] != "done"}
        found = list(states.values())
        return left, found.count("done"), found.count("old")

    def state(self, stem, file):
        """ "new", "done", or "old": done before the image was changed."""
        paths = self.targets(stem)
        there = [path for path in paths if path.exists()]
        if not there or self._overwrite:
            return "new"
        if file.stat().st_mtime_ns > min(path.stat().st_mtime_ns for path in there):
            return "old"
        return "done" if len(there) == len(paths) else "new"

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


def check_case(files):
    """Raise if two results would share a file because names there do not differ by case."""
    folded = {}
    for stem, file in files.items():
        other = folded.setdefault(stem.casefold(), file)
        if other is not file:
            raise Unusable(
                f"{str(other)!r} and {str(file)!r} would be written to one file: the folder of "
                "--out does not tell names by case"
            )
