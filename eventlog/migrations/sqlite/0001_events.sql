-- Times are microseconds since 1970-01-01 UTC.
CREATE TABLE IF NOT EXISTS tidings_schema (version INTEGER NOT NULL PRIMARY KEY);
CREATE TABLE tidings_events (
	position       INTEGER PRIMARY KEY AUTOINCREMENT, -- in order of commit: SQLite has one writer
	id             TEXT    NOT NULL UNIQUE,
	type           TEXT    NOT NULL,
	version        INTEGER NOT NULL,
	data           TEXT    NOT NULL,
	occurred_at    INTEGER NOT NULL,
	recorded_at    INTEGER NOT NULL,
	correlation_id TEXT    NOT NULL,
	causation_id   TEXT,
	stream         TEXT,
	stream_version INTEGER,
	CHECK ((stream IS NULL) = (stream_version IS NULL))
);
CREATE UNIQUE INDEX tidings_events_stream ON tidings_events (stream, stream_version) WHERE stream IS NOT NULL;
CREATE INDEX tidings_events_type ON tidings_events (type, position);
CREATE INDEX tidings_events_correlation ON tidings_events (correlation_id);
CREATE INDEX tidings_events_causation ON tidings_events (causation_id) WHERE causation_id IS NOT NULL;
CREATE INDEX tidings_events_occurred ON tidings_events (occurred_at);

-- The state of event-sourced aggregates, to load fewer events.
CREATE TABLE tidings_snapshots (
	stream         TEXT    NOT NULL PRIMARY KEY,
	stream_version INTEGER NOT NULL,
	schema_version INTEGER NOT NULL, -- of data
	data           TEXT    NOT NULL,
	recorded_at    INTEGER NOT NULL
);

-- What each handler has handled already.
CREATE TABLE tidings_inbox (
	handler     TEXT    NOT NULL,
	event_id    TEXT    NOT NULL,
	recorded_at INTEGER NOT NULL,
	PRIMARY KEY (handler, event_id)
) WITHOUT ROWID;
CREATE INDEX tidings_inbox_recorded ON tidings_inbox (recorded_at);

-- How far each reader has come.
CREATE TABLE tidings_cursors (
	name        TEXT    NOT NULL PRIMARY KEY,
	cursor      TEXT    NOT NULL,
	recorded_at INTEGER NOT NULL
);

INSERT INTO tidings_schema (version) VALUES (1);
