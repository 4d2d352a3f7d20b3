"""Connections that carry events: CloudEvents over HTTP, NATS JetStream and RabbitMQ."""
