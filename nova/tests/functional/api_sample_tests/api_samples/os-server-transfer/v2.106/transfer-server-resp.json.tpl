{
    "transfer": {
        "project_id": "%(project_id)s",
        "user_id": "%(user_id)s"
    }
}
