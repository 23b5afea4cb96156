"""Durable bulk jobs: a file of prompts in, a folder of images out, nothing paid twice."""
