"""A small exact ray caster in NumPy: what `scenes` is made with.

All frames have x right, y down, z forward, in meters. A ray is an origin and a direction; the
camera's directions have z = 1 in its own frame, so that a ray's parameter *is* the depth.
"""
