"""The vendor's own sample, its URL and key aside: arguments are the URL and the file to write."""

import sys

import requests

url, file = sys.argv[1:]

response = requests.post(
    f"{url}/v2beta/stable-image/generate/ultra",
    headers={"authorization": "Bearer sk-MYAPIKEY", "accept": "image/*"},
    files={"none": ""},
    data={"prompt": "Lighthouse on a cliff overlooking the ocean", "output_format": "webp"},
)

if response.status_code == 200:
    with open(file, "wb") as written:
        written.write(response.content)
else:
    raise Exception(str(response.json()))
