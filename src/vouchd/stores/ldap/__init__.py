"""The store in a 389 Directory Server: entries, documents, users, the domain, and a watch of others' changes."""
