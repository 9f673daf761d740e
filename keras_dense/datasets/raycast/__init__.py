"""A small exact ray caster in NumPy, used by `scenes`.

All frames have x right, y down, z forward, in meters. A ray is an origin and a direction; the
directions of the camera have z = 1 in its own frame, so that the parameter of a ray *is* the depth.
"""
