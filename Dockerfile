# The studio in a container:
#
#     docker build -t deepdream .
#     docker run --rm --hostname localhost -p 8866:8866 -v deepdream:/home/artist/.cache deepdream
#
# It prints the address to open, which includes a token. The volume keeps the networks that it downloads.
FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /source
RUN python -m venv /opt/deepdream
# Caffe first: a change elsewhere does not compile it again. The compiler comes from PyPI and stays in this stage.
COPY tools/caffe tools/caffe
RUN /opt/deepdream/bin/python tools/caffe/build.py
COPY . .
RUN /opt/deepdream/bin/python -m pip install '.[studio]'

FROM python:3.13-slim
COPY --from=build /opt/deepdream /opt/deepdream
ENV PATH=/opt/deepdream/bin:$PATH PYTHONUNBUFFERED=1
RUN useradd --create-home artist && install --directory --owner artist /home/artist/.cache
USER artist
WORKDIR /home/artist
EXPOSE 8866
# Without the token, the page answers with a form to enter it.
HEALTHCHECK --start-period=30s CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8866')"]
STOPSIGNAL SIGINT
ENTRYPOINT ["deepdream"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8866"]
