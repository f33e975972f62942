"""What is in the database: tables and the functions that change them, each call of which is one step.

tables    a row a table: its version, and until when somebody watches it. Who changes a table locks its row first and keeps it
          until the change is committed, so versions rise in the order of commits and a watch sees no version late.
records   by key, in the order of bytes whatever the database's own order is
changes   the last changes of each table, to resume watches from
meta      one row: the version of all this
"""

from __future__ import annotations

VERSION = 1  # of what is in the database; a newer one is refused
KEPT = 10_000  # changes that a table keeps, at least
SLACK = 1_000  # changes kept longer, so that most writes delete none
SWEEP = 200  # expired records removed in one step
WATCHED = 30  # seconds that a table is told to be watched for; watching renews it when half of that is left

CREATE = f"""
CREATE TABLE $schema.tables (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    base text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    version bigint NOT NULL DEFAULT 0,
    watched timestamptz NOT NULL DEFAULT '-infinity',
    UNIQUE (base, name)
) WITH (fillfactor = 50);
CREATE TABLE $schema.records (
    table_id bigint NOT NULL,
    key text COLLATE "C" NOT NULL,
    value bytea NOT NULL,
    version bigint NOT NULL,
    expires timestamptz,
    metadata text NOT NULL,
    PRIMARY KEY (table_id, key)
);
CREATE INDEX due ON $schema.records (table_id, expires) WHERE expires IS NOT NULL;
CREATE TABLE $schema.changes (
    table_id bigint NOT NULL,
    version bigint NOT NULL,
    kind text NOT NULL,
    key text COLLATE "C" NOT NULL,
    PRIMARY KEY (table_id, version)
);
CREATE TABLE $schema.meta (version integer NOT NULL);

-- Lock a table's row, which is made if need be.
CREATE FUNCTION $schema.locked(of_base text, of_name text) RETURNS $schema.tables LANGUAGE plpgsql AS $$
DECLARE
    t $schema.tables;
BEGIN
    LOOP
        SELECT * INTO t FROM $schema.tables WHERE base = of_base AND name = of_name FOR UPDATE;
        IF FOUND THEN RETURN t; END IF;
        INSERT INTO $schema.tables (base, name) VALUES (of_base, of_name) ON CONFLICT DO NOTHING;
    END LOOP;
END $$;

-- Remove what is due, up to a number, from a table whose row is locked; gives the version then.
CREATE FUNCTION $schema.expire(of_table bigint, before bigint, moment timestamptz) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    removed bigint;
BEGIN
    WITH gone AS (
        DELETE FROM $schema.records r WHERE r.table_id = of_table AND r.key = ANY (ARRAY(
            SELECT d.key FROM $schema.records d WHERE d.table_id = of_table AND d.expires <= moment ORDER BY d.expires LIMIT {SWEEP}
        )) RETURNING r.key
    ), told AS (
        INSERT INTO $schema.changes SELECT of_table, before + row_number() OVER (ORDER BY key), 'expire', key FROM gone RETURNING 1
    )
    SELECT count(*) INTO removed FROM told;
    RETURN before + removed;
END $$;

-- Note a table's version, forget old changes, wake who watches.
CREATE FUNCTION $schema.moved(t $schema.tables, upto bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF upto = t.version THEN RETURN; END IF;
    UPDATE $schema.tables SET version = upto WHERE id = t.id;
    IF upto / {SLACK} > t.version / {SLACK} THEN
        DELETE FROM $schema.changes WHERE table_id = t.id AND version <= upto - {KEPT};
    END IF;
    IF t.watched > now() THEN PERFORM pg_notify($channel, t.id::text); END IF;
END $$;

-- Do several batches of operations on one table; a key is in them once. A value that is null is a deletion. Gives a number an
-- operation: its version, 0 for a deletion that found nothing; in a batch whose condition did not hold null, and for the first
-- operation that it did not hold for, -1 less the version found.
CREATE FUNCTION $schema.apply(
    of_base text, of_name text, batches int[], keys text[], contents bytea[], conditions bigint[], lives bigint[], notes text[]
) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    t $schema.tables := $schema.locked(of_base, of_name);
    moment timestamptz := clock_timestamp();
    before bigint := $schema.expire(t.id, t.version, moment);
    upto bigint;
    answer bigint[];
BEGIN
    WITH ops AS (
        SELECT o.*, coalesce((
            SELECT r.version FROM $schema.records r
            WHERE r.table_id = t.id AND r.key = o.key AND (r.expires IS NULL OR r.expires > moment)
        ), 0) AS was
        FROM unnest(batches, keys, contents, conditions, lives, notes) WITH ORDINALITY
            AS o (batch, key, value, wanted, life, metadata, number)
    ), judged AS (
        SELECT *, min(number) FILTER (WHERE wanted <> was) OVER (PARTITION BY batch) AS failed FROM ops
    ), chosen AS (
        SELECT *, failed IS NULL AND (value IS NOT NULL OR was > 0) AS done FROM judged
    ), numbered AS (
        SELECT *, CASE WHEN done THEN
            before + count(*) FILTER (WHERE done) OVER (ORDER BY number ROWS UNBOUNDED PRECEDING) END AS version
        FROM chosen
    ), put AS (
        INSERT INTO $schema.records (table_id, key, value, version, expires, metadata)
        SELECT t.id, key, value, version, date_trunc('milliseconds', moment + life * interval '1 millisecond'), metadata
        FROM numbered WHERE done AND value IS NOT NULL
        ON CONFLICT (table_id, key) DO UPDATE SET
            value = EXCLUDED.value, version = EXCLUDED.version, expires = EXCLUDED.expires, metadata = EXCLUDED.metadata
    ), gone AS (
        DELETE FROM $schema.records r
        WHERE r.table_id = t.id AND r.key = ANY (ARRAY(SELECT n.key FROM numbered n WHERE n.done AND n.value IS NULL))
    ), told AS (
        INSERT INTO $schema.changes (table_id, version, kind, key)
        SELECT t.id, version, CASE WHEN value IS NULL THEN 'delete' ELSE 'put' END, key FROM numbered WHERE done
    )
    SELECT
        array_agg(CASE WHEN failed IS NULL THEN coalesce(version, 0) WHEN failed = number THEN -1 - was END ORDER BY number),
        coalesce(max(version), before)
    INTO answer, upto FROM numbered;
    PERFORM $schema.moved(t, upto);
    RETURN answer;
END $$;

-- Say that a table is watched from now on; gives its row.
CREATE FUNCTION $schema.watched(of_base text, of_name text) RETURNS $schema.tables LANGUAGE plpgsql AS $$
DECLARE
    t $schema.tables := $schema.locked(of_base, of_name);
BEGIN
    UPDATE $schema.tables SET watched = now() + interval '{WATCHED} seconds' WHERE id = t.id;
    RETURN t;
END $$;

-- For who watches: remove what is due, go on being told. Locks nothing where there is nothing to do.
CREATE FUNCTION $schema.sweep(of_base text, of_name text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    t $schema.tables;
BEGIN
    SELECT * INTO t FROM $schema.tables WHERE base = of_base AND name = of_name;
    IF t.watched < now() + interval '{WATCHED // 2} seconds' THEN PERFORM $schema.watched(of_base, of_name); END IF;
    IF EXISTS (SELECT FROM $schema.records r WHERE r.table_id = t.id AND r.expires <= now()) THEN
        t := $schema.locked(of_base, of_name);
        PERFORM $schema.moved(t, $schema.expire(t.id, t.version, clock_timestamp()));
    END IF;
END $$;

INSERT INTO $schema.meta VALUES ({VERSION});
"""  # noqa: S608 - of constants: what users give goes in as arguments

_FIELDS = "r.key, r.value, r.version, r.expires, r.metadata"
# No joins: how rows are found does not hang on what the planner has heard of how many there are.
_OF = "FROM $schema.records r WHERE r.table_id = (SELECT id FROM $schema.tables WHERE base = $1 AND name = $2)"
_LIVE = "(r.expires IS NULL OR r.expires > clock_timestamp())"

APPLY = "SELECT $schema.apply($1, $2, $3, $4, $5, $6, $7, $8)"
READ = f"SELECT {_FIELDS} {_OF} AND r.key = ANY($3) AND {_LIVE}"
DATABASES = "SELECT DISTINCT base FROM $schema.tables WHERE version > 0 ORDER BY base"
TABLES = "SELECT name FROM $schema.tables WHERE base = $1 AND version > 0 ORDER BY name"
MADE = "SELECT count(*) > 0 FROM pg_tables WHERE schemaname = $1 AND tablename = 'meta'"
STATE = "SELECT id, version FROM $schema.tables WHERE base = $1 AND name = $2"
WATCHED_FROM = "SELECT id, version FROM $schema.watched($1, $2)"
SWEEP_DUE = "SELECT $schema.sweep($1, $2)"

# $1 the table's id, $2 after which version, $3 how many, $4 bytes of values that end the answer. A put that another change followed
# has no record any more.
CHANGES = f"""
SELECT * FROM (
    SELECT c.kind, c.key AS changed, c.version AS number, r.*,
        sum(octet_length(r.value)) OVER (ORDER BY c.version ROWS UNBOUNDED PRECEDING) - octet_length(r.value) AS before
    FROM (SELECT * FROM $schema.changes WHERE table_id = $1 AND version > $2 ORDER BY version LIMIT $3) c
    LEFT JOIN LATERAL (
        SELECT {_FIELDS} FROM $schema.records r
        WHERE r.table_id = c.table_id AND r.key = c.key AND r.version = c.version OFFSET 0
    ) r ON true
) page WHERE before IS NULL OR before < $4 ORDER BY number
"""  # noqa: S608 - of constants: what users give goes in as arguments


def named(sql: str, schema: str) -> str:
    """Fill the schema's name in, which is the name of the channel as well, however odd it is."""
    identifier = '"' + schema.replace('"', '""') + '"'
    literal = "'" + schema.replace("'", "''") + "'"
    return sql.replace("$schema", identifier).replace("$channel", literal)


def scan(*, bounds: tuple[str, ...], suffix: bool, descending: bool, values: bool) -> str:
    """Give the query of a page.

    $1 and $2 are the table, $3 how many, $4 bytes of values that end it, then what the bounds compare keys with, then the suffix.
    The sizes of values are known without reading them, and those behind the end are not read.
    """
    where = [f"r.key {bound} ${number}" for number, bound in enumerate(bounds, 5)]
    if suffix:
        where.append(f"right(r.key, char_length(${5 + len(bounds)})) = ${5 + len(bounds)}")
    order = "DESC" if descending else "ASC"
    limits = " AND ".join(["", *where, _LIVE])
    value = "value" if values else "''::bytea AS value"
    size = "octet_length(value)" if values else "0"
    return f"""
SELECT key, value, version, expires, metadata FROM (
    SELECT key, {value}, version, expires, metadata,
        sum({size}) OVER (ORDER BY key {order} ROWS UNBOUNDED PRECEDING) - {size} AS before
    FROM (SELECT {_FIELDS} {_OF}{limits} ORDER BY r.key {order} LIMIT $3) page
) sized WHERE before < $4 ORDER BY key {order}
"""  # noqa: S608 - of constants: what users give goes in as arguments
