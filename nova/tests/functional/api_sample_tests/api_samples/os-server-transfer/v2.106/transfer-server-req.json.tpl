{
    "transfer": {
        "project_id": "%(project_id)s",
        "user_id": "%(user_id)s",
        "from_project_id": "%(from_project_id)s",
        "transfer_id": "%(transfer_id)s"
    }
}
