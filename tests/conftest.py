from tests.services import mongo_url, redis_url, s3_url

__all__ = ["mongo_url", "redis_url", "s3_url"]
