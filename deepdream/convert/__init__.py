"""Networks of PyTorch, ONNX and Keras as Caffe's: `import_net`."""
