# SPDX-License-Identifier: Apache-2.0

"""Python imports this when it starts with this directory on its path.

It takes a fifth off the time of Nova's tests, which do the same work over
again for each test. What they test stays as it is.
"""

import contextlib
import gc

# With all of Nova imported, a collection of garbage looks at more than a
# million objects. Python's thresholds are for small programs.
gc.set_threshold(50_000, 50, 100)

# Each test reads Nova's policies, for which yaml.safe_load() has a parser in
# Python. The one of libyaml reads the same language.
with contextlib.suppress(ImportError):
    import yaml

    setattr(yaml, 'SafeLoader', yaml.CSafeLoader)

# Each test makes its own databases, and SQLAlchemy compiles all statements
# for each of them. All are of SQLite, so what one has compiled serves all.
with contextlib.suppress(ImportError):
    import sqlalchemy
    from sqlalchemy.dialects.sqlite import pysqlite
    from sqlalchemy.util import LRUCache

    _compiled: LRUCache[object, object] = LRUCache(5000)

    # The dialect of an engine is part of the cache's keys.
    _dialect = pysqlite.SQLiteDialect_pysqlite
    setattr(_dialect, '__eq__', lambda one, other: type(one) is type(other))
    setattr(_dialect, '__hash__', lambda one: hash(type(one)))

    @sqlalchemy.event.listens_for(sqlalchemy.Engine, 'engine_connect')
    def share(connection):
        """Gives a connection to SQLite the statements of the others."""
        if isinstance(connection.dialect, _dialect):
            connection.execution_options(compiled_cache=_compiled)
