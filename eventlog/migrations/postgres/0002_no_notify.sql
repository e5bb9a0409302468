-- Followers are told after the commit, by the program: a transaction that
-- notifies commits alone on the whole server, and cannot be prepared.
--
-- The function comes first, which waits for nobody. To drop the trigger takes
-- a lock that a long transaction, such as a backup, may keep from being had,
-- and while this waited all who publish would wait too. The trigger stays
-- then, and does nothing.
CREATE OR REPLACE FUNCTION tidings_events_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RETURN NULL;
END $$;
DO $$
DECLARE
	before text := current_setting('lock_timeout');
BEGIN
	SET LOCAL lock_timeout = '1s';
	DROP TRIGGER tidings_events_notify ON tidings_events;
	DROP FUNCTION tidings_events_notify();
	PERFORM set_config('lock_timeout', before, true);
EXCEPTION WHEN lock_not_available THEN
	RAISE WARNING 'the trigger tidings_events_notify does nothing any more: drop it when no long transaction reads tidings_events';
END $$;

INSERT INTO tidings_schema (version) VALUES (2);
