# Serves runs from /runs; nothing else is needed on the machine but Docker.
#
#   docker build -t modicum-serve .
#   docker run --rm -p 127.0.0.1:8000:8000 -v "$PWD/runs:/runs:ro" modicum-serve /runs/NAME
#
# Runs with a frozen backbone must hold it: `modicum pack runs/NAME` first.
FROM python:3.11-slim

# The versions that the project is tested with; torch and torchvision are the CPU builds of the same versions.
COPY constraints.txt /build/constraints.txt
RUN grep -E "^(torch|torchvision)==" /build/constraints.txt > /build/torch.txt \
    && pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu -r /build/torch.txt

COPY pyproject.toml README.md LICENSE /build/
COPY src /build/src
RUN pip install --no-cache-dir -c /build/constraints.txt "/build[serve,dicom]" \
    && rm -rf /build \
    && useradd --create-home --uid 10001 serve

USER serve
WORKDIR /home/serve
ENV PYTHONUNBUFFERED=1 OMP_NUM_THREADS=4
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/ready', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["modicum", "serve", "--host", "0.0.0.0", "--port", "8000"]
CMD ["/runs/run"]
