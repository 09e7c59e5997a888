"""From a target to an opened artefact: what it holds, and a way to its values, until the command ends."""
