CREATE TABLE IF NOT EXISTS tidings_schema (version integer NOT NULL PRIMARY KEY);

-- The number in tidings_events of a transaction of this server. When the
-- table has moved to a server that counts from a lower number, Rebase adds
-- to this, so that all stored positions stay as they are.
CREATE FUNCTION tidings_tx(xid8) RETURNS bigint LANGUAGE sql STABLE AS 'SELECT $1::text::bigint + 0';

CREATE TABLE tidings_events (
	id             uuid        NOT NULL PRIMARY KEY,
	-- The writing transaction, then the order within. A reader that goes by
	-- position alone misses events: a lower one may be committed later.
	tx             bigint      NOT NULL DEFAULT tidings_tx(pg_current_xact_id()),
	position       bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
	type           text        NOT NULL,
	version        integer     NOT NULL,
	data           json        NOT NULL,
	occurred_at    timestamptz NOT NULL,
	recorded_at    timestamptz NOT NULL,
	correlation_id uuid        NOT NULL,
	causation_id   uuid,
	stream         text,
	stream_version bigint,
	CHECK ((stream IS NULL) = (stream_version IS NULL))
);
CREATE UNIQUE INDEX tidings_events_position ON tidings_events (tx, position);
CREATE UNIQUE INDEX tidings_events_stream ON tidings_events (stream, stream_version) WHERE stream IS NOT NULL;
CREATE INDEX tidings_events_type ON tidings_events (type, tx, position);
CREATE INDEX tidings_events_correlation ON tidings_events (correlation_id);
CREATE INDEX tidings_events_causation ON tidings_events (causation_id) WHERE causation_id IS NOT NULL;
CREATE INDEX tidings_events_occurred ON tidings_events (occurred_at);

-- Followers LISTEN to this.
CREATE FUNCTION tidings_events_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_notify('tidings_events', '');
	RETURN NULL;
END $$;
CREATE TRIGGER tidings_events_notify AFTER INSERT ON tidings_events
	FOR EACH STATEMENT EXECUTE FUNCTION tidings_events_notify();

-- The state of event-sourced aggregates, to load fewer events.
CREATE TABLE tidings_snapshots (
	stream         text        NOT NULL PRIMARY KEY,
	stream_version bigint      NOT NULL,
	schema_version integer     NOT NULL, -- of data
	data           json        NOT NULL,
	recorded_at    timestamptz NOT NULL
);

-- What each handler has handled already.
CREATE TABLE tidings_inbox (
	handler     text        NOT NULL,
	event_id    uuid        NOT NULL,
	recorded_at timestamptz NOT NULL,
	PRIMARY KEY (handler, event_id)
);
CREATE INDEX tidings_inbox_recorded ON tidings_inbox (recorded_at);

-- How far each reader has come.
CREATE TABLE tidings_cursors (
	name        text        NOT NULL PRIMARY KEY,
	cursor      text        NOT NULL,
	recorded_at timestamptz NOT NULL
);

INSERT INTO tidings_schema (version) VALUES (1);
