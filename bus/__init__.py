"""How it travels: subjects, codec, client, streams and the task log on NATS JetStream."""
