"""The tables of a store."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()

records = sa.Table(
    "records",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("kind", sa.String(40), nullable=False),
    sa.Column("id", sa.String(100), nullable=False),
    sa.Column("owner", sa.String(40), nullable=False),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("expires", sa.Float, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.UniqueConstraint("kind", "owner", "id"),
    sa.Index("by_expiry", "expires"),
)

conversations = sa.Table(
    "conversations",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(40), nullable=False),
    sa.Column("owner", sa.String(40), nullable=False),
    sa.Column("updated", sa.Float, nullable=False),
    sa.Column("head", sa.String(40)),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.UniqueConstraint("owner", "id"),
    sa.Index("by_update", "owner", "updated"),
)

messages = sa.Table(
    "conversation_messages",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("conversation", sa.Integer, sa.ForeignKey("conversations.number"), nullable=False),
    sa.Column("id", sa.String(40), nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.UniqueConstraint("conversation", "id"),
)

version = sa.Table("version", metadata, sa.Column("version", sa.Integer, nullable=False))
