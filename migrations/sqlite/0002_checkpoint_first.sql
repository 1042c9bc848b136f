-- Where the first append of a partition began: what is older was never in this shard's log.
ALTER TABLE checkpoints ADD COLUMN first_offset INTEGER;
