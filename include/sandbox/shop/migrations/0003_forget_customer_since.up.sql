-- Since when somebody is a customer is not asked any more. There is no way back from here but a restore.
ALTER TABLE customers DROP COLUMN created_at;
