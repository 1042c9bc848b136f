-- What every instance must hear of soon, such as revoked tokens.
CREATE TABLE notices (
    key      text COLLATE "C" PRIMARY KEY,
    until_ms bigint NOT NULL
);
