"""stub"""


def cross_validate(*args, **kw):
    raise NotImplementedError
