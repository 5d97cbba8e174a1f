DROP TABLE gift_cards;
ALTER TABLE orders DROP COLUMN gift_note;
