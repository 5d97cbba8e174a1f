-- A note that comes with a gift. It may be missing, so the version before can go on writing orders.
ALTER TABLE orders ADD COLUMN gift_note text;
CREATE TABLE gift_cards (
    code text PRIMARY KEY,
    order_id bigint NOT NULL REFERENCES orders (id) ON DELETE CASCADE,
    cents integer NOT NULL CHECK (cents > 0)
);
GRANT SELECT, INSERT, UPDATE ON gift_cards TO shop_app;
