"""What the files of the separated voices are called."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from gated.errors import UserError


def plan_outputs(tracks: Iterable[Path], template: str, num_speakers: int) -> list[list[Path]]:
    """Return the output paths, a list for each recording.

    Raises:
        UserError: the template is wrong, or two voices (or a voice and a recording) would be one file.
    """
    tracks = list(tracks)
    try:
        plan = [[Path(template.format(track=t.stem, speaker=i + 1)) for i in range(num_speakers)] for t in tracks]
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise UserError(
            f"cannot make file names of {template!r}",
            expected="a name with {track} and {speaker}",
            found=f"{type(error).__name__}: {error}",
            hint='write it like "out/{track}_{speaker}.wav"',
        ) from None
    everything = [path.absolute() for paths in plan for path in paths]
    doubles = sorted({str(path) for path in everything if everything.count(path) > 1})
    if doubles:
        raise UserError(
            "several voices would be written to one file",
            found=doubles[0],
            hint='use {track} and {speaker} in -o ("out/{track}_{speaker}.wav"); recordings of one name need two runs',
        )
    inputs = {track.absolute() for track in tracks}
    lost = [path for path in everything if path in inputs]
    if lost:
        raise UserError(f"a voice would overwrite the recording {lost[0]}", hint="choose another name with -o")
    return plan
