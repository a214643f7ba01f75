"""What a service is made of: classes, apis, types, models.  Part of the runtime."""
